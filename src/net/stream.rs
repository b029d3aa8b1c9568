//! A non-blocking byte stream, with or without TLS, that knows when reading on is pointless, or more than its share.
//!
//! Runs in: the dial, accept, telephony and gemini threads. Owns a socket ([`super::socket`]) and what TLS keeps of it.
//! Invariant: what is known of the socket is known below TLS, so that a record costs one system call and an empty socket
//! none; and no more is given out than [`Stream::allow`] allowed, whatever reads, and however often it tries.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;

use mio::unix::SourceFd;
use mio::{Registry, Token};
use native_tls::TlsStream;
use openssl::ssl::SslStream;

use super::socket::Socket;
use super::texts::Texts;

enum Transport {
    Plain(Socket),
    Tls(Box<TlsStream<Socket>>),
    AcceptedTls(Box<SslStream<Socket>>),
}

/// See the head of this file.
pub struct Stream {
    transport: Transport,
    /// Bytes that TLS may still give out in this pass: it keeps up to a record of what was read.
    allowance: usize,
    /// A read was refused because of that.
    cut_short: bool,
    /// Which messages are texts, on a WebSocket.
    texts: Option<Box<Texts>>,
    /// What was to be sent ahead of all else and the kernel has not taken yet.
    unsent: Vec<u8>,
    /// Reads that were asked of the stream.
    #[cfg(test)]
    pub(super) asked: usize,
}

impl Stream {
    /// A stream without TLS.
    pub fn plain(socket: TcpStream) -> Self {
        Self::new(Transport::Plain(Socket::new(socket)))
    }

    /// A stream whose TLS handshake we have begun, and which is complete.
    pub(crate) fn tls(stream: TlsStream<Socket>) -> Self {
        Self::new(Transport::Tls(Box::new(stream)))
    }

    /// A stream whose TLS handshake the peer has begun, and which is complete.
    pub(crate) fn accepted_tls(stream: SslStream<Socket>) -> Self {
        Self::new(Transport::AcceptedTls(Box::new(stream)))
    }

    fn new(transport: Transport) -> Self {
        Self {
            transport,
            allowance: usize::MAX,
            cut_short: false,
            texts: None,
            unsent: Vec::new(),
            #[cfg(test)]
            asked: 0,
        }
    }

    /// Tells texts from binary messages from here on, with `texts`; all of them are read as binary messages.
    pub(super) fn tell_texts_with(&mut self, texts: Texts) {
        self.texts = Some(Box::new(texts));
    }

    /// Which messages were texts.
    pub(super) fn texts(&mut self) -> Option<&mut Texts> {
        self.texts.as_deref_mut()
    }

    fn below(&self) -> &Socket {
        match &self.transport {
            Transport::Plain(socket) => socket,
            Transport::Tls(stream) => stream.get_ref(),
            Transport::AcceptedTls(stream) => stream.get_ref(),
        }
    }

    fn below_mut(&mut self) -> &mut Socket {
        match &mut self.transport {
            Transport::Plain(socket) => socket,
            Transport::Tls(stream) => stream.get_mut(),
            Transport::AcceptedTls(stream) => stream.get_mut(),
        }
    }

    /// The socket below.
    pub fn socket(&self) -> &TcpStream {
        self.below().tcp()
    }

    /// Registers the socket with a poll, edge-triggered, for reading and writing.
    ///
    /// # Errors
    /// Those of `epoll_ctl`.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        self.below_mut().register(registry, token)
    }

    /// Takes the socket away from a poll, for another one.
    ///
    /// # Errors
    /// Those of `epoll_ctl`.
    pub fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        registry.deregister(&mut SourceFd(&self.socket().as_raw_fd()))
    }

    /// Allows so many bytes to be read from now on; without it, reads are not limited. Beyond it a read says
    /// `WouldBlock` and [`Stream::is_cut_short`] tells that it was for this reason.
    pub fn allow(&mut self, bytes: usize) {
        (self.allowance, self.cut_short) = (bytes, false);
        self.below_mut().allow(bytes);
    }

    /// Whether a read was refused since the last [`Stream::allow`] although the peer may have sent more, of which no
    /// edge will tell.
    pub fn is_cut_short(&self) -> bool {
        self.cut_short || self.below().is_cut_short()
    }

    /// Says that the poll reported the socket readable; `ending` that the peer has closed its side, so that the end of
    /// the stream is behind the last byte and a short read proves nothing.
    pub fn rearm(&mut self, ending: bool) {
        self.below_mut().rearm(ending);
    }

    /// Sends all of `bytes`: what the kernel does not take now is kept, and goes ahead of whatever is written later. Returns
    /// whether it took all.
    ///
    /// # Errors
    /// Those of writing, except that it would block.
    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<bool> {
        let taken = if self.unsent.is_empty() { self.write_below(bytes) } else { Ok(0) };
        match taken {
            Ok(n) if n == bytes.len() => return Ok(true),
            Ok(n) => self.unsent.extend_from_slice(&bytes[n..]),
            // TLS wants to be asked again with the same bytes, which these are.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.unsent.extend_from_slice(bytes),
            Err(error) => return Err(error),
        }
        Ok(false)
    }

    fn send_unsent(&mut self) -> io::Result<()> {
        while !self.unsent.is_empty() {
            let unsent = std::mem::take(&mut self.unsent);
            let taken = self.write_below(&unsent);
            // Nothing is kept of its memory: it is needed once in a long while.
            self.unsent = unsent.get(*taken.as_ref().unwrap_or(&0)..).unwrap_or_default().to_vec();
            if taken? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        Ok(())
    }

    fn write_below(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.transport {
            Transport::Plain(socket) => socket.write(bytes),
            Transport::Tls(stream) => stream.write(bytes),
            Transport::AcceptedTls(stream) => stream.write(bytes),
        }
    }

    /// Whether a read would bring nothing, as long as the poll does not report the socket.
    pub(super) fn is_drained(&self) -> bool {
        self.below().is_drained()
            && match &self.transport {
                Transport::Plain(_) => true,
                Transport::Tls(stream) => matches!(stream.buffered_read_size(), Ok(0)),
                Transport::AcceptedTls(stream) => stream.ssl().pending() == 0,
            }
    }

    /// The peer's address.
    ///
    /// # Errors
    /// Those of `getpeername`: the peer is gone.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket().peer_addr()
    }

    fn read_bytes(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if let Transport::Plain(socket) = &mut self.transport {
            return socket.read(into);
        }
        // TLS itself finds out at more expense.
        if self.is_drained() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if self.allowance == 0 {
            self.cut_short = true;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let share = into.len().min(self.allowance);
        let into = &mut into[..share];
        let n = match &mut self.transport {
            Transport::Plain(socket) => socket.read(into),
            Transport::Tls(stream) => stream.read(into),
            Transport::AcceptedTls(stream) => stream.read(into),
        }?;
        self.allowance -= n;
        Ok(n)
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        #[cfg(test)]
        {
            self.asked += 1;
        }
        let n = self.read_bytes(into)?;
        if let Some(texts) = &mut self.texts {
            texts.pass(&mut into[..n]);
        }
        Ok(n)
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.send_unsent()?;
        self.write_below(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send_unsent()?;
        match &mut self.transport {
            Transport::Plain(socket) => socket.flush(),
            Transport::Tls(stream) => stream.flush(),
            Transport::AcceptedTls(stream) => stream.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use mio::Poll;
    use native_tls::TlsConnector;
    use openssl::asn1::Asn1Time;
    use openssl::ec::{EcGroup, EcKey};
    use openssl::hash::MessageDigest;
    use openssl::nid::Nid;
    use openssl::pkey::PKey;
    use openssl::ssl::{SslAcceptor, SslMethod};
    use openssl::x509::X509;

    use super::*;

    /// A connection whose far end is registered with the poll.
    fn pair() -> (TcpStream, Stream, Poll) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let near = TcpStream::connect(listener.local_addr().expect("bound")).expect("listening");
        let mut stream = Stream::plain(listener.accept().expect("connected").0);
        let poll = Poll::new().expect("a descriptor");
        stream.register(poll.registry(), Token(0)).expect("open");
        (near, stream, poll)
    }

    #[test]
    fn a_short_read_is_the_last_until_the_poll_reports_more() {
        let (mut near, mut stream, _poll) = pair();
        near.write_all(b"abc").expect("connected");
        let mut into = [0; 8];
        assert_eq!(stream.read(&mut into).expect("readable"), 3);
        near.write_all(b"def").expect("connected");
        assert_eq!(stream.read(&mut into).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        stream.rearm(false);
        assert_eq!(stream.read(&mut into).expect("readable"), 3);
    }

    #[test]
    fn without_a_poll_that_would_report_more_every_read_asks_the_socket() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let mut near = TcpStream::connect(listener.local_addr().expect("bound")).expect("listening");
        let mut stream = Stream::plain(listener.accept().expect("connected").0);
        let mut into = [0; 8];
        for piece in [b"abc", b"def"] {
            near.write_all(piece).expect("connected");
            assert_eq!(stream.read(&mut into).expect("readable"), 3);
        }
    }

    #[test]
    fn registering_forgets_what_was_known_of_the_end() {
        let (mut near, mut stream, poll) = pair();
        stream.rearm(true);
        poll.registry().deregister(&mut SourceFd(&stream.socket().as_raw_fd())).expect("registered");
        stream.register(poll.registry(), Token(1)).expect("open");
        near.write_all(b"abc").expect("connected");
        let mut into = [0; 8];
        assert_eq!(stream.read(&mut into).expect("readable"), 3);
        assert_eq!(stream.read(&mut into).unwrap_err().kind(), io::ErrorKind::WouldBlock, "no system call");
    }

    #[test]
    fn the_end_of_the_stream_is_seen_behind_a_short_read() {
        let (mut near, mut stream, _poll) = pair();
        near.write_all(b"abc").expect("connected");
        drop(near);
        stream.rearm(true);
        let mut into = [0; 8];
        assert_eq!(stream.read(&mut into).expect("readable"), 3);
        assert_eq!(stream.read(&mut into).expect("the end"), 0);
    }

    #[test]
    fn no_more_than_the_allowance_is_read_and_the_rest_is_not_forgotten() {
        let (mut near, mut stream, _poll) = pair();
        near.write_all(b"abcdefgh").expect("connected");
        stream.allow(5);
        let mut into = [0; 4];
        assert_eq!(stream.read(&mut into).expect("readable"), 4);
        assert_eq!(stream.read(&mut into).expect("one is left"), 1);
        assert!(!stream.is_cut_short());
        assert_eq!(stream.read(&mut into).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert!(stream.is_cut_short());
        stream.allow(5);
        assert_eq!(stream.read(&mut into).expect("readable"), 3);
        assert!(!stream.is_cut_short());
    }

    /// A server that takes anybody, with a certificate that is made for it.
    fn acceptor() -> SslAcceptor {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).expect("a known curve");
        let key = PKey::from_ec_key(EcKey::generate(&group).expect("a key")).expect("a key");
        let mut certificate = X509::builder().expect("memory");
        certificate.set_pubkey(&key).expect("a key");
        certificate.set_not_before(&Asn1Time::days_from_now(0).expect("a day")).expect("a day");
        certificate.set_not_after(&Asn1Time::days_from_now(1).expect("a day")).expect("a day");
        certificate.sign(&key, MessageDigest::sha256()).expect("a signature");
        let mut acceptor =
            SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).expect("the preset is known");
        acceptor.set_certificate(&certificate.build()).expect("a certificate");
        acceptor.set_private_key(&key).expect("its key");
        acceptor.build()
    }

    trait Peer: Read + Write + Send {}
    impl<T: Read + Write + Send> Peer for T {}

    /// A TLS connection: the end of a peer that blocks, and ours, registered, as the one who began and as the one who was
    /// asked.
    fn encrypted(poll: &Poll) -> [(Box<dyn Peer>, Stream); 2] {
        let mut builder = TlsConnector::builder();
        builder.danger_accept_invalid_certs(true).danger_accept_invalid_hostnames(true);
        let (connector, acceptor) = (builder.build().expect("TLS"), acceptor());
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let connect = || TcpStream::connect(listener.local_addr().expect("bound")).expect("listening");
        let (near, far) = (connect(), listener.accept().expect("connected").0);
        let (began, asked) = thread::scope(|scope| {
            let asked = scope.spawn(|| acceptor.accept(far).expect("a handshake"));
            let began = connector.connect("x", Socket::new(near)).expect("a handshake");
            (Stream::tls(began), asked.join().expect("no panic"))
        });
        let (near, far) = (connect(), listener.accept().expect("connected").0);
        let (peer, accepted) = thread::scope(|scope| {
            let peer = scope.spawn(|| connector.connect("x", near).expect("a handshake"));
            let accepted = acceptor.accept(Socket::new(far)).expect("a handshake");
            (peer.join().expect("no panic"), Stream::accepted_tls(accepted))
        });
        let mut ends: [(Box<dyn Peer>, Stream); 2] = [(Box::new(asked), began), (Box::new(peer), accepted)];
        for (_, ours) in &mut ends {
            ours.socket().set_nonblocking(true).expect("a socket");
            ours.register(poll.registry(), Token(0)).expect("open");
            // The tickets of the handshake come first.
            assert_eq!(ours.read(&mut [0; 8]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        }
        ends
    }

    /// Waits until the peer's bytes have come, as the poll would say.
    fn come(stream: &mut Stream, bytes: usize) {
        let mut into = vec![0; bytes];
        while stream.socket().peek(&mut into).map_or(0, |n| n) < bytes {
            thread::yield_now();
        }
        stream.rearm(false);
    }

    #[test]
    fn a_record_costs_one_system_call_and_nothing_costs_none() {
        let poll = Poll::new().expect("a descriptor");
        for (mut peer, mut stream) in encrypted(&poll) {
            let mut into = [0; 4096];
            for round in 0..10 {
                let reads = stream.below().reads;
                peer.write_all(&[round; 1300]).expect("connected");
                come(&mut stream, 1300);
                let mut got = 0;
                // As tungstenite asks: a part, the rest, and once too often.
                while let Ok(n) = stream.read(&mut into[..1000]) {
                    got += n;
                }
                assert_eq!((got, into[0]), (1300, round));
                assert_eq!(stream.read(&mut into).unwrap_err().kind(), io::ErrorKind::WouldBlock);
                assert_eq!(stream.below().reads - reads, 1, "for a head, a body and an empty socket");
            }
            assert!(stream.below().is_drained());
        }
    }

    #[test]
    fn what_the_kernel_does_not_take_goes_ahead_of_what_is_written_later() {
        let poll = Poll::new().expect("a descriptor");
        for (mut peer, mut stream) in encrypted(&poll) {
            let mut sent = Vec::new();
            for round in 0.. {
                let message = vec![round as u8; 4_000 + round];
                sent.extend_from_slice(&message);
                if !stream.send(&message).expect("connected") {
                    break;
                }
            }
            assert_eq!(stream.write(b"later").unwrap_err().kind(), io::ErrorKind::WouldBlock);
            assert_eq!(stream.flush().unwrap_err().kind(), io::ErrorKind::WouldBlock);
            sent.extend_from_slice(b"later");
            let came = thread::spawn({
                let mut came = vec![0; sent.len()];
                move || peer.read_exact(&mut came).map(|()| came)
            });
            let mut written = 0;
            while written < 5 {
                match stream.write(&b"later"[written..]) {
                    Ok(n) => written += n,
                    Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
                }
                thread::yield_now();
            }
            assert!(came.join().expect("no panic").expect("connected") == sent);
            assert!(stream.flush().is_ok() && stream.unsent.capacity() == 0);
        }
    }

    #[test]
    fn what_tls_holds_is_given_out_though_the_socket_is_drained() {
        let poll = Poll::new().expect("a descriptor");
        for (mut peer, mut stream) in encrypted(&poll) {
            peer.write_all(&[7; 3000]).expect("connected");
            come(&mut stream, 3000);
            let mut into = [0; 1000];
            for _ in 0..3 {
                assert_eq!(stream.read(&mut into).expect("it is there"), 1000);
                assert!(stream.below().is_drained());
            }
            assert_eq!(stream.read(&mut into).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        }
    }

    #[test]
    fn neither_more_than_the_allowance_is_read_nor_more_given_out() {
        let poll = Poll::new().expect("a descriptor");
        for (mut peer, mut stream) in encrypted(&poll) {
            peer.write_all(&[7; 10_000]).expect("connected");
            come(&mut stream, 10_000);
            let (mut got, mut shares) = (Vec::new(), 0);
            while got.len() < 10_000 {
                let (before, mut into) = (got.len(), [0; 800]);
                stream.allow(3000);
                while let Ok(n) = stream.read(&mut into) {
                    got.extend_from_slice(&into[..n]);
                }
                assert!(stream.is_cut_short() || got.len() == 10_000);
                assert!(got.len() - before <= 3000);
                shares += 1;
            }
            // A record in three shares and a bit, and what comes out of it at 3000 a share.
            assert!((4..=8).contains(&shares), "{shares}");
            assert_eq!(got, [7; 10_000]);
        }
    }

    #[test]
    fn the_end_of_an_encrypted_stream_is_seen_behind_its_last_record() {
        let poll = Poll::new().expect("a descriptor");
        for (mut peer, mut stream) in encrypted(&poll) {
            peer.write_all(b"abc").expect("connected");
            come(&mut stream, 3);
            drop(peer);
            let mut into = [0; 8];
            assert_eq!(stream.read(&mut into).expect("readable"), 3);
            loop {
                stream.rearm(true);
                match stream.read(&mut into) {
                    Ok(n) => break assert_eq!(n, 0),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::yield_now(),
                    // OpenSSL takes an end without a farewell for a fault.
                    Err(_) => break,
                }
            }
        }
    }
}
