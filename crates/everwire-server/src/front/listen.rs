//! The listening sockets of each core thread.
//!
//! Those that the server opens are one for each thread, on the same port: the system spreads connections over them.
//! Those that it is given are shared by all threads. Siblings of them would be spread over more evenly, but connections
//! that wait in a sibling end with the process, and a socket that a service manager keeps is there so that none does:
//! it is the queue in which connections wait while the server starts anew.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

/// A peer that acknowledges nothing for this long is gone.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(60);

/// Connections that the system holds for us to accept.
const BACKLOG: i32 = 4096;

/// Opens a listening socket for each of `count` threads on one address.
pub(crate) fn listen(address: SocketAddr, count: usize) -> io::Result<Vec<Vec<TcpListener>>> {
    // With SO_REUSEPORT a second server on this port would not fail but share the connections, to everybody's
    // bewilderment. So the port is first bound without it, which fails if anybody listens.
    drop(bind(address, false)?);
    let first = bind(address, true)?;
    let address = first.local_addr()?;
    let mut listeners = vec![vec![first]];
    for _ in 1..count {
        listeners.push(vec![bind(address, true)?]);
    }
    Ok(listeners)
}

/// Gives each of `count` threads all sockets that somebody else listens on.
pub(crate) fn share(sockets: Vec<TcpListener>, count: usize) -> io::Result<Vec<Vec<TcpListener>>> {
    for socket in &sockets {
        inherit(&SockRef::from(socket))?;
        // Not a matter of what accepted sockets inherit: who waits for a connection must not block the thread.
        socket.set_nonblocking(true)?;
    }
    let all = || sockets.iter().map(TcpListener::try_clone).collect();
    let mut shared = (1..count).map(|_| all()).collect::<io::Result<Vec<_>>>()?;
    shared.push(sockets);
    Ok(shared)
}

fn bind(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    inherit(&SockRef::from(&socket))?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Sets what accepted sockets inherit, which saves setting it on each.
fn inherit(socket: &SockRef<'_>) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_somebody_listens_on_is_refused() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listeners = listen(any, 3).unwrap();
        let address = listeners[0][0].local_addr().unwrap();
        assert!(
            listeners
                .iter()
                .flatten()
                .all(|listener| listener.local_addr().unwrap() == address)
        );
        assert_eq!(
            listen(address, 1).unwrap_err().kind(),
            io::ErrorKind::AddrInUse
        );
    }
}
