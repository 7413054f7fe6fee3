//! Who is behind a proxy, said before a connection's first byte (the PROXY protocol).

use std::{io, net::IpAddr};

use tokio::net::TcpStream;

use crate::{
    config::{Http, ProxyProtocol},
    proxy::{
        self,
        protocol::{self, HEADER_BYTES_MAX, Parsed, ProtocolError},
    },
};

/// Why a connection from a trusted proxy is not served.
#[derive(Debug, thiserror::Error)]
pub(super) enum AnnounceError {
    /// It does not begin as it should.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// It broke off.
    #[error("the connection broke off in its PROXY header: {0}")]
    Io(#[from] io::Error),
}

/// Whether a connection from there begins with a header.
pub(super) fn is_expected(peer: IpAddr, settings: &Http) -> bool {
    settings.proxy_protocol == ProxyProtocol::Required && proxy::is_trusted(peer, settings)
}

/// Takes the header and not a byte more, so that whatever follows, TLS for example, begins at its beginning. `None` is
/// the proxy itself.
pub(super) async fn read(stream: &TcpStream) -> Result<Option<IpAddr>, AnnounceError> {
    let mut header = Vec::new();
    let mut buffer = vec![0; HEADER_BYTES_MAX];
    loop {
        let taken = header.len();
        let count = stream.peek(&mut buffer[..HEADER_BYTES_MAX - taken]).await?;
        if count == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        header.extend_from_slice(&buffer[..count]);
        match protocol::parse(&header)? {
            // All of it is the header's beginning.
            Parsed::Incomplete => take(stream, &mut buffer[..count])?,
            Parsed::Header { client, length } => {
                take(stream, &mut buffer[..length - taken])?;
                return Ok(client);
            }
        }
    }
}

/// Takes what was seen to be there.
fn take(stream: &TcpStream, buffer: &mut [u8]) -> io::Result<()> {
    match stream.try_read(buffer)? {
        count if count == buffer.len() => Ok(()),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}
