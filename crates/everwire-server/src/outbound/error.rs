//! Why there is no answer.

use std::error::Error;

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

    /// Whether another attempt may find it better, unchanged.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Busy { .. } | Self::TimeOut { .. } | Self::Cut { .. } => {
                true
            }
            Self::TooLarge { .. } | Self::Stopping => false,
        }
    }
}

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
