//! Sockets of which the event loop has told already.
//!
//! To poll a socket asks its place in the event loop three times over, and counts towards the share of its task. Where something is known to
//! be there, and no bulk is to be moved, it is read at once; where it is known that nothing is, that is answered at once. Neither puts anybody among
//! those who wait: for that the socket is polled.

use std::io;

use rustix::io::Errno;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Nothing has come since the socket was read last. No system call.
pub(crate) fn is_quiet(socket: &TcpStream) -> bool {
    // What is done runs if there is something; that it succeeds leaves it there.
    socket.try_io(Interest::READABLE, || Ok(())).is_err()
}

/// Reads what has come; 0 is the peer's end. `None`: nothing has, or only a poll can tell.
pub(crate) fn read_now(socket: &TcpStream, room: &mut [u8]) -> Option<io::Result<usize>> {
    let read = socket.try_io(Interest::READABLE, || match rustix::io::read(socket, &mut *room) {
        Err(Errno::INTR) => Ok(None),
        read => Ok(Some(read?)),
    });
    match read {
        Ok(Some(n)) => {
            if (1..room.len()).contains(&n) {
                // That is all: the event loop will tell of more, so it need not be asked for in vain.
                let _ = socket.try_io(Interest::READABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
            }
            Some(Ok(n))
        }
        Ok(None) => None,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
        Err(error) => Some(Err(error)),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn what_has_come_is_read_once_and_then_there_is_quiet() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let mut near = TcpStream::connect(address).await.expect("a connection");
        let (far, _) = listener.accept().await.expect("a connection");
        let mut room = [0; 8];
        // Of a socket it was just given the event loop does not know yet: then it is tried.
        assert!(read_now(&far, &mut room).is_none() && is_quiet(&far));
        for _ in 0..2 {
            near.write_all(b"hello world").await.expect("written");
            far.readable().await.expect("ready");
            assert!(!is_quiet(&far));
            assert_eq!(read_now(&far, &mut room).expect("something").expect("read"), 8);
            assert!(!is_quiet(&far), "a full read may have left some");
            assert_eq!(read_now(&far, &mut room).expect("something").expect("read"), 3);
            assert!(is_quiet(&far) && read_now(&far, &mut room).is_none());
        }
        drop(near);
        far.readable().await.expect("ready");
        assert_eq!(read_now(&far, &mut room).expect("something").expect("read"), 0);
        assert!(!is_quiet(&far), "an end stays");
    }
}
