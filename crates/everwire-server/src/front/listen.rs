//! The listening sockets of each core thread.
//!
//! Those that the server opens are one for each thread, on the same port: the system spreads connections over them.
//! Those that it is given are shared by all threads. Siblings of them would be spread over more evenly, but connections
//! that wait in a sibling end with the process, and a socket that a service manager keeps is there so that none does:
//! it is the queue in which connections wait while the server starts anew.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    time::Duration,
};

use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use crate::config::{Listen, Place};

/// A peer that acknowledges nothing for this long is gone.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(60);

/// `EAFNOSUPPORT`, which the standard library has no kind for.
const ADDRESS_FAMILY_UNSUPPORTED: i32 = 97;

/// Connections that the system holds for us to accept.
const BACKLOG: i32 = 4096;

/// Opens a listening socket for each of `count` threads at each place. An error tells the address that it is about.
pub(crate) fn listen(
    listen: &Listen,
    count: usize,
) -> Result<Vec<Vec<TcpListener>>, (SocketAddr, io::Error)> {
    let mut threads: Vec<_> = (0..count).map(|_| Vec::new()).collect();
    for place in listen.places() {
        for sockets in at_place(*place, listen, count)? {
            for (thread, socket) in threads.iter_mut().zip(sockets) {
                thread.push(socket);
            }
        }
    }
    Ok(threads)
}

/// The sockets of a place: one list for each of its addresses.
fn at_place(
    place: Place,
    listen: &Listen,
    count: usize,
) -> Result<Vec<Vec<TcpListener>>, (SocketAddr, io::Error)> {
    let open = |address| open(address, listen, count).map_err(|error| (address, error));
    let first = place.address();
    match place {
        Place::Address(_) => Ok(vec![open(first)?]),
        Place::Localhost(_) => {
            let first = open(first)?;
            // A free port that was chosen for one is wanted for the other too.
            let port = first[0].local_addr().map_or(0, |address| address.port());
            match open((Ipv6Addr::LOCALHOST, port).into()) {
                Ok(second) => Ok(vec![first, second]),
                Err((_, error)) if has_no_ipv6(&error) => Ok(vec![first]),
                Err(error) => Err(error),
            }
        }
        Place::Everywhere(port) => match open(first) {
            Err((_, error)) if has_no_ipv6(&error) => {
                Ok(vec![open((Ipv4Addr::UNSPECIFIED, port).into())?])
            }
            opened => Ok(vec![opened?]),
        },
    }
}

fn has_no_ipv6(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported
    ) || error.raw_os_error() == Some(ADDRESS_FAMILY_UNSUPPORTED)
}

/// A socket for each thread on one address.
fn open(address: SocketAddr, listen: &Listen, count: usize) -> io::Result<Vec<TcpListener>> {
    // Every address of IPv6 takes those of IPv4 in, unless these are listed beside it.
    let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
    let only_v6 =
        (listen.places().iter()).any(|place| matches!(place, Place::Address(at) if *at == v4));
    let bind = |address, shared| bind(address, shared, only_v6);
    // With SO_REUSEPORT a second server on this port would not fail but share the connections, to everybody's
    // bewilderment. So the port is first bound without it, which fails if anybody listens.
    drop(bind(address, false)?);
    let first = bind(address, true)?;
    let address = first.local_addr()?;
    let mut sockets = vec![first];
    for _ in 1..count {
        sockets.push(bind(address, true)?);
    }
    Ok(sockets)
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

fn bind(address: SocketAddr, shared: bool, only_v6: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        // Whatever the system's default is.
        socket.set_only_v6(only_v6)?;
    }
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

    fn addresses(sockets: &[Vec<TcpListener>]) -> Vec<Vec<SocketAddr>> {
        let of_thread = |sockets: &Vec<TcpListener>| {
            let address = |socket: &TcpListener| socket.local_addr().unwrap();
            sockets.iter().map(address).collect()
        };
        sockets.iter().map(of_thread).collect()
    }

    #[test]
    fn a_port_that_somebody_listens_on_is_refused() {
        let any = Listen::from(SocketAddr::from(([127, 0, 0, 1], 0)));
        let listeners = listen(&any, 3).unwrap();
        let addresses = addresses(&listeners);
        let address = addresses[0][0];
        assert_eq!(addresses, vec![vec![address]; 3]);
        let (told, error) = listen(&address.into(), 1).unwrap_err();
        assert_eq!((told, error.kind()), (address, io::ErrorKind::AddrInUse));
    }

    #[test]
    fn each_thread_listens_at_every_place() {
        let places = "127.0.0.1:0,127.0.0.2:0,localhost:0".parse().unwrap();
        let addresses = addresses(&listen(&places, 2).unwrap());
        assert_eq!(addresses[0], addresses[1]);
        let ips: Vec<_> = addresses[0].iter().map(|at| at.ip().to_string()).collect();
        assert_eq!(ips[..3], ["127.0.0.1", "127.0.0.2", "127.0.0.1"]);
        // Where there is IPv6, localhost is there under the same port.
        if let Some(v6) = addresses[0].get(3) {
            assert_eq!(*v6, (Ipv6Addr::LOCALHOST, addresses[0][2].port()).into());
        }
    }

    #[test]
    fn all_addresses_of_both_kinds_can_be_listed_beside_each_other() {
        let port = |sockets: &[Vec<TcpListener>]| sockets[0][0].local_addr().unwrap().port();
        let free = port(&listen(&":0".parse().unwrap(), 1).unwrap());
        let both = format!("0.0.0.0:{free},:{free}").parse().unwrap();
        if let Err((address, error)) = listen(&both, 2) {
            // Somebody else may have taken the port meanwhile, or there is no IPv6.
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "{address}");
        }
    }
}
