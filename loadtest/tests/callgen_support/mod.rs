//! Small peers for the call generator's tests: a WebSocket server in place of the relay, and an echo of floor
//! messages in place of the simulator.
//!
//! Runs in: threads of the test. Owns its listener. Never listens beyond 127.0.0.1.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use tungstenite::{Message, WebSocket};

/// The server's end of a call.
pub(crate) type Leg = WebSocket<TcpStream>;

/// Serves every call with `serve` in its own thread until the test ends; gives the URL.
pub(crate) fn serve_calls(serve: impl Fn(Leg) + Send + Sync + Clone + 'static) -> String {
    let addr = serve_tcp(move |stream| {
        stream.set_nodelay(true).expect("a socket");
        if let Ok(leg) = tungstenite::accept(stream) {
            serve(leg);
        }
    });
    format!("ws://{addr}/call")
}

/// Serves every TCP connection with `serve` in its own thread until the test ends.
pub(crate) fn serve_tcp(serve: impl Fn(TcpStream) + Send + Sync + Clone + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("a bound socket");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = serve.clone();
            thread::spawn(move || serve(stream));
        }
    });
    addr
}

/// Reads the call's audio to its end, `frame` says what is sent for each frame; a close is answered.
pub(crate) fn each_frame(mut leg: Leg, mut frame: impl FnMut(Vec<u8>, &mut Vec<Message>)) {
    let mut out = Vec::new();
    loop {
        match leg.read() {
            Ok(Message::Binary(bytes)) => frame(bytes.to_vec(), &mut out),
            Ok(_) => {}
            // After a close tungstenite answers by itself and then says that the connection is closed.
            Err(_) => return,
        }
        for message in out.drain(..) {
            if leg.send(message).is_err() {
                return;
            }
        }
    }
}

/// Answers each message of `bytes_in` with one of `bytes_out` that has the same first 32 bytes.
pub(crate) fn floor_echo(mut stream: TcpStream, bytes_in: usize, bytes_out: usize) {
    stream.set_nodelay(true).expect("a socket");
    let (mut read, mut write) = (vec![0; bytes_in], vec![0; bytes_out]);
    while stream.read_exact(&mut read).is_ok() {
        write[..32].copy_from_slice(&read[..32]);
        if stream.write_all(&write).is_err() {
            return;
        }
    }
}
