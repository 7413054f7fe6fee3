//! One account, with every right on its own channels and in the room, does its worst in each way that there is, and goes
//! on with it: whatever all share, somebody else's account does not notice.
//!
//! ```text
//!  eve ───────── all that she can of one thing, again and again ──▶ everwire serve ──▶ refused beyond her share
//!  neighbour ─── publishes, reads, is present, polls, asks ───────▶                ──▶ as ever
//! ```

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    common::{
        Peer,
        application::{Answer, Application, SECRET},
        client_frame,
        issuer::Issuer,
        websocket_request,
    },
    neighbour::{Neighbour, Socket, append},
    victim::{Victim, raise_own_descriptors},
};

/// One way of doing one's worst.
struct Way {
    name: &'static str,
    /// How little there is of it, as lines of the configuration that go on in `[limits]`.
    settings: &'static str,
    /// The limit that she meets, as it is counted.
    limit: &'static str,
    /// One blow, of which there is no end.
    blow: fn(&mut Eve),
}

const WAYS: [Way; 15] = [
    Way {
        name: "channels",
        settings: "channels_max = 300\nappends_per_second_user_max = 0\n",
        limit: "channels_share",
        blow: |eve| eve.appends(50, |n| (format!("eve/{n}"), "1".to_owned())),
    },
    Way {
        name: "bytes of logs",
        settings: "log_bytes_max = 8388608\nappends_per_second_user_max = 0\n",
        limit: "log_bytes_share",
        blow: |eve| eve.appends(10, |n| (format!("eve/{}", n % 7), "x".repeat(50_000))),
    },
    Way {
        name: "members of the room",
        settings: "\n[presence]\nmembers_max = 30\n",
        limit: "members_per_caller_max",
        blow: Eve::comes_in,
    },
    Way {
        name: "connections",
        settings: "connections_max = 200\n",
        limit: "connections_share",
        blow: |eve| eve.holds(""),
    },
    Way {
        name: "lines",
        settings: "lines_max = 100\nlines_per_second_max = 0\n",
        limit: "lines_share",
        blow: |eve| eve.holds(eve.get("/channels/room", "Accept: text/event-stream\r\n")),
    },
    Way {
        name: "long polls",
        settings: "polls_max = 50\nlines_per_second_max = 0\n",
        limit: "polls_share",
        blow: |eve| {
            eve.holds(eve.get("/channels/eve/quiet?live=long-poll&offset=now", ""));
        },
    },
    Way {
        name: "sessions by long polls",
        settings: "lines_max = 100\nlines_per_second_max = 0\n",
        limit: "lines_share",
        blow: |eve| eve.holds(eve.get("/connect", "Accept: application/json\r\n")),
    },
    Way {
        name: "publications",
        settings: "",
        limit: "appends_per_second_user_max",
        blow: |eve| eve.appends(200, |n| ("room".to_owned(), n.to_string())),
    },
    Way {
        name: "batches",
        settings: "",
        limit: "appends_per_second_user_max",
        blow: Eve::sends_a_batch,
    },
    Way {
        name: "history pages",
        settings: "reads_per_second_max = 2000\n",
        limit: "reads_per_second_max",
        blow: Eve::reads,
    },
    Way {
        name: "commands",
        settings: "commands_per_second_max = 2000\n",
        limit: "commands_per_second_max",
        blow: Eve::commands,
    },
    Way {
        name: "questions to the application",
        settings: "\n[outbound]\nconnections_per_host_max = 4\n",
        limit: "waiting_per_caller_max",
        blow: |eve| eve.holds(append(&eve.token, "asked/eve", "1")),
    },
    Way {
        name: "contents that never end",
        settings: "in_flight_bytes_per_caller_max = 9000000\n",
        limit: "in_flight_bytes_per_caller_max",
        blow: |eve| {
            let whole = append(&eve.token, "eve/long", &"x".repeat(1_000_000));
            eve.holds(&whole[..whole.len() - 1]);
        },
    },
    Way {
        name: "messages that never end",
        settings: "kept_bytes_max = 4000000\n",
        limit: "kept_bytes_share",
        blow: |eve| {
            let open = websocket_request(
                "/channels/eve/long",
                &format!("Authorization: Bearer {}\r\n", eve.token),
            );
            let message = client_frame(0x1, &[b'x'; 500_000]);
            let begun = &message[..message.len() - 1];
            eve.holds([open.as_bytes(), begun].concat());
        },
    },
    Way {
        name: "pages that are not taken",
        settings: "in_flight_bytes_per_caller_max = 9000000\n",
        limit: "in_flight_bytes_per_caller_max",
        blow: Eve::takes_no_page,
    },
];

/// Each limit is really met, and the neighbour goes its rounds all the time.
#[test]
fn one_account_does_its_worst_and_another_does_not_notice() {
    check(Victim::start);
}

/// With stderr on a full disk, 1,024 descriptors and 256 MiB, all at once.
#[test]
fn the_same_where_there_is_little_of_everything() {
    check(Victim::start_poorly);
}

fn check(start: fn(&str) -> Victim) {
    raise_own_descriptors();
    for way in WAYS {
        println!("{}", way.name);
        let application =
            Application::start(|question: &Value| match question["channel"].as_str() {
                Some("asked/neighbour") => Answer::Json(json!({"allow": true})),
                _ => Answer::Silence,
            });
        let (own, url) = (Neighbour::settings(), application.address);
        let victim = start(&format!(
            "{RATES}{}\n[webhooks]\nurl = \"http://{url}/everwire\"\nsecret = {SECRET:?}\ntime_ms_max = 600000\n{own}",
            way.settings
        ));
        let mut neighbour = Neighbour::move_in(victim.address);
        neighbour.goes_round();
        assert_eq!(victim.met(way.limit), 0, "she has not begun");
        let worst = Worst::begin(victim.address, way.blow);
        let began = Instant::now();
        let mut rounds = 0;
        let mut met = 0;
        // Until she has met her limit, for as long as she goes on with it, and until she has met it again.
        while met == 0 || rounds < 20 || victim.met(way.limit) == met {
            neighbour.goes_round();
            match met {
                0 => met = victim.met(way.limit),
                _ => rounds += 1,
            }
            assert!(began.elapsed() < LONG, "{} is not met", way.limit);
        }
        worst.end();
        neighbour.goes_round();
        victim.serves_others(way.name);
    }
}

/// Both are as fast as they can be; what they do with their connections is what is looked at.
const RATES: &str = "\n[limits]\nconnections_per_second_max = 0\n";

/// How long she tries, on a machine that is very busy.
const LONG: Duration = Duration::from_secs(120);

/// Eve at work, until this is dropped.
struct Worst {
    is_over: Arc<AtomicBool>,
    eve: Option<JoinHandle<()>>,
}

impl Worst {
    fn begin(address: SocketAddr, blow: fn(&mut Eve)) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let over = is_over.clone();
        let eve = std::thread::spawn(move || {
            let mut eve = Eve::new(address);
            while !over.load(Ordering::Relaxed) {
                blow(&mut eve);
            }
        });
        Self {
            is_over,
            eve: Some(eve),
        }
    }

    /// Has her stop. She was refused all the time, and never broken.
    fn end(mut self) {
        self.stop().expect("she was not broken");
    }

    fn stop(&mut self) -> std::thread::Result<()> {
        self.is_over.store(true, Ordering::Relaxed);
        self.eve.take().map_or(Ok(()), JoinHandle::join)
    }
}

impl Drop for Worst {
    fn drop(&mut self) {
        // Where this is not reached by `end`, it is the neighbour who is told of.
        let _ = self.stop();
    }
}

/// Whoever does her worst.
struct Eve {
    address: SocketAddr,
    token: String,
    kept: Option<Peer>,
    socket: Option<Socket>,
    held: VecDeque<Peer>,
    sockets: VecDeque<Socket>,
    count: usize,
}

impl Eve {
    fn new(address: SocketAddr) -> Self {
        let can = ["read", "publish", "presence", "manage"];
        let grants = json!([{"match": "eve/**", "can": can}, {"match": "room", "can": can}]);
        Self {
            address,
            token: Issuer::shared().token(json!({"sub": "eve", "channels": grants})),
            kept: None,
            socket: None,
            held: VecDeque::new(),
            sockets: VecDeque::new(),
            count: 0,
        }
    }

    fn connect(&self) -> Peer {
        Peer::connect_from(EVE, self.address)
    }

    fn get(&self, target: &str, fields: &str) -> String {
        let token = &self.token;
        format!("GET {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n{fields}\r\n")
    }

    /// Appends without waiting for the answers in between.
    fn appends(&mut self, count: usize, next: impl Fn(usize) -> (String, String)) {
        let requests = (self.count..self.count + count).map(|n| {
            let (name, text) = next(n);
            append(&self.token, &name, &text)
        });
        let requests: String = requests.collect();
        self.count += count;
        let mut peer = self.kept.take().unwrap_or_else(|| self.connect());
        peer.send(requests);
        for _ in 0..count {
            let response = peer.response();
            assert!(matches!(response.status, 204 | 429), "{}", response.text());
        }
        self.kept = Some(peer);
    }

    fn sends_a_batch(&mut self) {
        let items: Vec<Value> = (0..1_000)
            .map(|n| json!({"channel": format!("eve/{}", n % 10), "data": n}))
            .collect();
        let content = json!(items).to_string();
        let mut peer = self.kept.take().unwrap_or_else(|| self.connect());
        peer.send(format!(
            "POST /publish HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n{content}",
            self.token,
            content.len()
        ));
        let response = peer.response();
        assert!(matches!(response.status, 200 | 429), "{}", response.text());
        self.kept = Some(peer);
    }

    /// Says something on many connections of her own, and takes nothing of what is said there.
    fn holds(&mut self, request: impl AsRef<[u8]>) {
        for _ in 0..20 {
            let mut peer = self.connect();
            if peer.try_send(&request) {
                self.held.push_back(peer);
            }
        }
        self.lets_go(400);
    }

    /// Leaves all but the newest, which are not gone again before the server has come round to them.
    fn lets_go(&mut self, held_max: usize) {
        // She may be refused here too.
        self.connect()
            .try_ask("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
        let over = self.held.len().saturating_sub(held_max);
        self.held.drain(..over);
    }

    fn comes_in(&mut self) {
        let mut socket = Socket::open(self.connect(), &self.token);
        socket.send(
            &json!({"id": 1, "op": "subscribe", "channel": "room", "presence": {"info": self.count}}),
        );
        socket.reply();
        self.count += 1;
        self.sockets.push_back(socket);
        let over = self.sockets.len().saturating_sub(20);
        self.sockets.drain(..over);
    }

    fn commands(&mut self) {
        let mut socket = self
            .socket
            .take()
            .unwrap_or_else(|| Socket::open(self.connect(), &self.token));
        for id in 0..200 {
            socket.send(&json!({"id": id, "op": "presence", "channel": "room"}));
        }
        for _ in 0..200 {
            socket.reply();
        }
        self.socket = Some(socket);
    }

    /// Each page costs as much as it holds, and she takes them all.
    fn reads(&mut self) {
        if self.count == 0 {
            self.appends(1, |_| ("eve/large".to_owned(), "x".repeat(100_000)));
        }
        let request = self.get("/channels/eve/large", "").repeat(50);
        let mut peer = self.kept.take().unwrap_or_else(|| self.connect());
        peer.send(request);
        for _ in 0..50 {
            let response = peer.response();
            assert!(matches!(response.status, 200 | 429), "{}", response.status);
        }
        self.kept = Some(peer);
    }

    /// Of pages this large the kernel takes the smaller part.
    fn takes_no_page(&mut self) {
        if self.count == 0 {
            self.appends(1, |_| ("eve/large".to_owned(), "x".repeat(4_000_000)));
        }
        let request = self.get("/channels/eve/large", "");
        for _ in 0..5 {
            let mut peer = Peer::connect_narrow_from(EVE, self.address);
            peer.send(&request);
            self.held.push_back(peer);
        }
        self.lets_go(20);
    }
}

const EVE: [u8; 4] = [127, 0, 0, 66];
