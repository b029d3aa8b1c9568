//! The tool threads against a stand-in server on loopback, which records what it was asked and answers as it is told.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Instant as Wall;

use serde_json::json;

use super::*;
use crate::base::parameters::Parameters;
use crate::net::tls::Client;
use crate::sync::{Doorbell, Mailbox, mailbox};

/// How long something may take that is certain to come.
const PATIENCE: Duration = Duration::from_secs(20);
const SECRET: &str = "Bearer never-print-this";

/// What a server does with a request.
enum Reply {
    /// Sends this.
    Text(String),
    /// Says nothing until the client has gone.
    Nothing,
    /// Closes the connection.
    Close,
}

fn http(status: &str, kind: &str, body: &str) -> Reply {
    Reply::Text(format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ))
}

fn json_text(body: &str) -> Reply {
    http("200 OK", "application/json; charset=utf-8", body)
}

/// A server that gives its `n`th request (from 1) to `reply`, and what it was asked.
struct Server {
    url: String,
    asked: mpsc::Receiver<String>,
}

impl Server {
    fn start(reply: impl Fn(usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let (tell, asked) = mpsc::channel();
        let reply = Arc::new(reply);
        thread::spawn(move || {
            let count = Arc::new(std::sync::atomic::AtomicUsize::new(0));
            for socket in listener.incoming() {
                let (tell, reply, count) = (tell.clone(), Arc::clone(&reply), Arc::clone(&count));
                let Ok(socket) = socket else { return };
                thread::spawn(move || serve(socket, &tell, &count, &*reply));
            }
        });
        Self { url, asked }
    }

    /// The next request, as one text.
    fn asked(&self) -> String {
        self.asked.recv_timeout(PATIENCE).expect("a request")
    }

    fn is_not_asked(&self) {
        assert!(self.asked.try_recv().is_err());
    }
}

fn serve(
    mut socket: TcpStream,
    tell: &mpsc::Sender<String>,
    count: &std::sync::atomic::AtomicUsize,
    reply: &(dyn Fn(usize) -> Reply + Send + Sync),
) {
    let mut reader = BufReader::new(socket.try_clone().expect("a socket"));
    loop {
        let mut request = String::new();
        while !request.ends_with("\r\n\r\n") {
            if reader.read_line(&mut request).unwrap_or(0) == 0 {
                return;
            }
        }
        let length = request.to_ascii_lowercase().lines().find_map(|line| {
            line.strip_prefix("content-length: ").and_then(|length| length.parse::<usize>().ok())
        });
        let mut body = vec![0; length.unwrap_or(0)];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        request.push_str(&String::from_utf8_lossy(&body));
        _ = tell.send(request);
        match reply(count.fetch_add(1, Relaxed) + 1) {
            Reply::Text(text) if socket.write_all(text.as_bytes()).is_err() => return,
            Reply::Text(_) => {}
            Reply::Nothing => {
                _ = reader.read(&mut [0; 1]);
                return;
            }
            Reply::Close => return,
        }
    }
}

/// A pool with its threads, and what they report.
struct Pool {
    pool: ToolPool,
    facts: Mailbox<ControlInput>,
    clock: Clock,
}

fn pool(threads: usize) -> Pool {
    let (control, facts) = mailbox(Doorbell::for_parked(thread::current()));
    let tls = native_tls::TlsConnector::new().expect("the system's TLS");
    let clock = Clock::new();
    let (pool, first) = tool_pool(HttpClient::new(Some(Client::verifying(tls))), control, clock);
    for _ in 0..threads {
        let thread = first.clone();
        thread::spawn(move || thread.run());
    }
    Pool { pool, facts, clock }
}

const CALL: CallId = CallId { slot: 7, generation: 3 };

impl Pool {
    fn run(&mut self, number: ToolNumber, tool: &Arc<HttpTool>, arguments: Value) -> Result<(), String> {
        let Value::Object(arguments) = arguments else { panic!("{arguments}") };
        let caller = ToolCaller {
            uuid: Some("u-1".into()),
            caller: Some("Šárka 100%".into()),
            did: Some("+420123".into()),
            agent: "shop".into(),
        };
        self.pool.run(self.clock.now(), (CALL, number), Arc::clone(tool), arguments, caller)
    }

    /// The next result.
    fn done(&self) -> (ToolNumber, ToolResult) {
        let by = Wall::now() + PATIENCE;
        loop {
            if let Some(ControlInput::Fact(id, Fact::ToolDone(number, result))) = self.facts.take() {
                assert_eq!(id, CALL);
                return (number, result);
            }
            assert!(Wall::now() < by, "no result came");
            thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// Asks once and waits for the result.
    fn ask(&mut self, tool: HttpTool, arguments: Value) -> ToolResult {
        self.run(1, &Arc::new(tool), arguments).expect("room");
        self.done().1
    }
}

fn tool(server: &Server, method: Method) -> HttpTool {
    let mut value = HeaderValue::from_static(SECRET);
    value.set_sensitive(true);
    HttpTool {
        name: "lookup".into(),
        description: String::new(),
        url: format!("{}/find?shop=1", server.url),
        method,
        parameters: Parameters::default(),
        timeout: Duration::from_secs(10),
        retries: 0,
        secret: Some((HeaderName::from_static("x-key"), value)),
        behavior: None,
        scheduling: None,
        hold_uplink: false,
    }
}

fn failure(result: ToolResult) -> String {
    match result {
        Err(ToolFailure::Failed(why) | ToolFailure::NotAsked(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_get_has_its_arguments_encoded_in_the_query_and_says_whose_call_it_is() {
    let server = Server::start(|_| json_text(r#"{"free": ["9:00"]}"#));
    let arguments = json!({"day": "Mo & Tu=#/../x", "persons": 2, "tags": ["a"]});
    let result = pool(1).ask(tool(&server, Method::Get), arguments);
    assert_eq!(result, Ok(json!({"free": ["9:00"]})));
    let asked = server.asked();
    let line = "GET /find?shop=1&day=Mo+%26+Tu%3D%23%2F..%2Fx&persons=2&tags=%5B%22a%22%5D HTTP/1.1\r\n";
    assert!(asked.starts_with(line), "{asked}");
    for header in [
        "x-key: Bearer never-print-this\r\n",
        "x-tandem-uuid: u-1\r\n",
        "x-tandem-caller: %C5%A0%C3%A1rka 100%25\r\n",
        "x-tandem-did: +420123\r\n",
        "x-tandem-agent: shop\r\n",
    ] {
        assert!(asked.to_lowercase().contains(&header.to_lowercase()), "{header} in {asked}");
    }
}

#[test]
fn a_post_has_its_arguments_as_a_json_object_and_text_is_answered_as_text() {
    let server = Server::start(|_| http("201 Created", "text/plain", "booked"));
    let result = pool(1).ask(tool(&server, Method::Post), json!({"day": "Monday"}));
    assert_eq!(result, Ok(json!("booked")));
    let asked = server.asked();
    assert!(asked.starts_with("POST /find?shop=1 HTTP/1.1\r\n"), "{asked}");
    assert!(asked.to_lowercase().contains("content-type: application/json\r\n"), "{asked}");
    assert!(asked.ends_with("\r\n\r\n{\"day\":\"Monday\"}"), "{asked}");
}

#[test]
fn an_empty_answer_is_done_and_json_that_is_none_is_an_error() {
    let server = Server::start(|n| match n {
        1 => Reply::Text("HTTP/1.1 204 No Content\r\n\r\n".into()),
        _ => json_text("{\"a\":"),
    });
    let mut pool = pool(1);
    assert_eq!(pool.ask(tool(&server, Method::Post), json!({})), Ok(json!("done")));
    assert!(failure(pool.ask(tool(&server, Method::Post), json!({}))).contains("JSON"));
}

#[test]
fn a_fault_of_the_server_is_repeated_where_that_is_allowed_and_nowhere_else() {
    let server = Server::start(|n| match n {
        1 | 4 => http("500 Oh", "text/plain", "oh"),
        2 => Reply::Close,
        _ => json_text("1"),
    });
    let mut pool = pool(1);
    let repeated = HttpTool { retries: 2, ..tool(&server, Method::Get) };
    assert_eq!(pool.ask(repeated, json!({})), Ok(json!(1)));
    (0..3).for_each(|_| drop(server.asked()));
    assert_eq!(failure(pool.ask(tool(&server, Method::Post), json!({}))), "HTTP status 500: oh");
    server.asked();
    server.is_not_asked();
}

#[test]
fn a_refusal_of_the_server_is_told_to_the_model_in_short() {
    let long = "no such customer ".repeat(100);
    let server = Server::start(move |_| http("404 Not Found", "text/plain", &long));
    let why = failure(pool(1).ask(HttpTool { retries: 3, ..tool(&server, Method::Get) }, json!({})));
    assert!(why.starts_with("HTTP status 404: no such customer") && why.len() < 300, "{why}");
    server.asked();
    server.is_not_asked();
}

#[test]
fn a_redirect_is_not_followed() {
    let elsewhere = Server::start(|_| json_text("1"));
    let to = elsewhere.url.clone();
    let server = Server::start(move |_| {
        Reply::Text(format!("HTTP/1.1 302 Found\r\nLocation: {to}/\r\nContent-Length: 0\r\n\r\n"))
    });
    assert_eq!(failure(pool(1).ask(tool(&server, Method::Get), json!({}))), "HTTP status 302");
    elsewhere.is_not_asked();
}

#[test]
fn a_server_that_says_nothing_or_cannot_be_reached_fails_in_time() {
    let server = Server::start(|_| Reply::Nothing);
    let mut pool = pool(1);
    let hasty = HttpTool { timeout: Duration::from_millis(300), retries: 3, ..tool(&server, Method::Get) };
    assert_eq!(pool.ask(hasty, json!({})), Err(ToolFailure::TimedOut));
    let closed = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound");
    let unreachable = HttpTool { url: format!("http://{closed}/"), ..tool(&server, Method::Get) };
    assert_eq!(failure(pool.ask(unreachable, json!({}))), "the tool cannot be reached");
}

#[test]
fn an_answer_that_is_too_long_is_an_error_whether_or_not_it_says_how_long() {
    let long = "x".repeat(70 * 1024);
    let server = Server::start(move |n| match n {
        1 => http("200 OK", "text/plain", &long),
        _ => Reply::Text(format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{long}",
            long.len()
        )),
    });
    let mut pool = pool(1);
    for _ in 0..2 {
        assert!(failure(pool.ask(tool(&server, Method::Get), json!({}))).contains("longer than 65536 bytes"));
    }
}

#[test]
fn a_tool_that_was_taken_back_in_the_queue_is_not_asked_and_a_slow_one_does_not_hold_up_another_thread() {
    let (slow, quick) = (Server::start(|_| Reply::Nothing), Server::start(|_| json_text("1")));
    let never = Arc::new(tool(&slow, Method::Get));
    let soon = Arc::new(HttpTool { timeout: Duration::from_millis(400), ..tool(&slow, Method::Get) });
    let mut pool = pool(2);
    pool.run(1, &never, json!({})).expect("room");
    slow.asked();
    let quick_tool = Arc::new(tool(&quick, Method::Get));
    pool.run(2, &quick_tool, json!({})).expect("room");
    assert_eq!(pool.done(), (2, Ok(json!(1))), "beside the slow one");
    quick.asked();
    // Both threads wait now; what is behind them is taken back.
    pool.run(3, &soon, json!({})).expect("room");
    slow.asked();
    pool.run(4, &quick_tool, json!({})).expect("room");
    pool.pool.take_back(CALL, 4);
    assert_eq!(pool.done(), (3, Err(ToolFailure::TimedOut)));
    assert!(matches!(pool.done(), (4, Err(ToolFailure::NotAsked(_)))), "nobody was asked");
    pool.run(5, &quick_tool, json!({})).expect("room");
    assert_eq!(pool.done(), (5, Ok(json!(1))));
    quick.asked();
    quick.is_not_asked();
}

#[test]
fn a_full_queue_is_an_error_at_once_and_what_waits_in_it_is_answered_in_time_all_the_same() {
    let server = Server::start(|_| Reply::Nothing);
    let slow = Arc::new(HttpTool { timeout: Duration::from_millis(500), ..tool(&server, Method::Get) });
    let mut pool = pool(1);
    pool.run(0, &slow, json!({})).expect("room");
    server.asked();
    for number in 1..=QUEUE_MAX {
        pool.run(number as ToolNumber, &slow, json!({})).expect("room");
    }
    let refused = pool.run(9_999, &slow, json!({}));
    assert_eq!(refused, Err("too many tools wait to be carried out".to_owned()));
    for number in 0..=QUEUE_MAX {
        assert_eq!(pool.done(), (number as ToolNumber, Err(ToolFailure::TimedOut)));
    }
}

#[test]
fn what_is_under_way_ends_when_the_pool_is_stopped() {
    let server = Server::start(|_| Reply::Nothing);
    let mut pool = pool(1);
    pool.run(1, &Arc::new(tool(&server, Method::Get)), json!({})).expect("room");
    server.asked();
    pool.pool.stop();
    assert!(pool.done().1.is_err());
}
