//! Why there is no answer.

use std::{error::Error, io, time::Duration};

use hyper_util::client::legacy;

/// Why a request to another server has no answer. Each names the host, and neither a path nor a query, in which there
/// may be a secret.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutboundError {
    /// No connection: the name, the network, the port, or TLS.
    #[error(
        "no connection to {host}: {cause}; see that it runs, that its name is right, and that its certificate is from \
         an authority that this system or outbound.ca_file knows"
    )]
    Connect {
        /// The host and its port.
        host: String,
        /// From the outermost cause to the innermost.
        cause: String,
    },
    /// All connections to this host were in use.
    #[error(
        "all {connections_max} connections to {host} were in use for {time_ms} ms; it answers too slowly, or \
         outbound.connections_per_host_max is too low"
    )]
    Busy {
        /// The host and its port.
        host: String,
        /// The limit.
        connections_max: usize,
        /// How long one was waited for.
        time_ms: u128,
    },
    /// Not done in time.
    #[error("{host} did not answer within {time_ms} ms")]
    TimeOut {
        /// The host and its port.
        host: String,
        /// How long that was.
        time_ms: u128,
        /// How long the other server had of it; the rest was waited for a connection that was not in use.
        had: Duration,
    },
    /// This server had no descriptor, port or memory for a connection.
    #[error(
        "this server cannot make one more connection, to {host}: {cause}; raise its limit of open files, or lower what \
         limits.connections_max allows"
    )]
    Wanting {
        /// The host and its port.
        host: String,
        /// From the outermost cause to the innermost.
        cause: String,
    },
    /// The answer is larger than is taken.
    #[error("the answer of {host} is larger than {bytes_max} bytes, which are all that is taken")]
    TooLarge {
        /// The host and its port.
        host: String,
        /// The limit.
        bytes_max: usize,
    },
    /// The connection ended inside the exchange, or what came was no HTTP.
    #[error("{host} did not answer as HTTP does: {cause}")]
    Cut {
        /// The host and its port.
        host: String,
        /// From the outermost cause to the innermost.
        cause: String,
    },
    /// The server is about to stop.
    #[error("nothing is asked any more, since this server stops")]
    Stopping,
}

impl OutboundError {
    pub(super) fn of_client(host: &str, error: &legacy::Error) -> Self {
        let (host, cause) = (host.to_owned(), causes(error));
        match error.is_connect() {
            true if is_own_want(error) => Self::Wanting { host, cause },
            true => Self::Connect { host, cause },
            false => Self::Cut { host, cause },
        }
    }

    pub(super) fn cut(host: &str, error: &(dyn Error + 'static)) -> Self {
        Self::Cut {
            host: host.to_owned(),
            cause: causes(error),
        }
    }
}

/// Whether a connection failed for what this machine lacks, which tells nothing of the other server.
fn is_own_want(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(cause) = next {
        let error = cause.downcast_ref::<io::Error>();
        if let Some(code) = error.and_then(io::Error::raw_os_error) {
            return OWN_WANTS.contains(&code);
        }
        next = cause.source();
    }
    false
}

/// Of Linux: no memory, no descriptor in the system or the process, no port, no buffer.
const OWN_WANTS: [i32; 5] = [12, 23, 24, 99, 105];

/// An error and what it comes from, each said once.
fn causes(error: &(dyn Error + 'static)) -> String {
    let mut said: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        if !said.iter().any(|said| said.contains(&text)) {
            said.push(text);
        }
        next = error.source();
    }
    said.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] io::Error);

    #[test]
    fn what_this_machine_lacks_is_told_from_who_does_not_answer() {
        for (code, expected) in [(24, true), (99, true), (111, false), (113, false)] {
            let error = Outer(io::Error::from_raw_os_error(code));
            assert_eq!(is_own_want(&error), expected, "{}", causes(&error));
        }
        assert!(!is_own_want(&Outer(io::Error::other("no name"))));
    }
}
