//! An entry reaches its reader whatever JSON it is (RFC 8259): all that the server takes arrives on each wire as it was
//! published, and no channel of a line is disturbed by what another one carries.
//!
//! The grammar allows more than most programs can hold: half of a surrogate pair, which a text that was cut in the
//! middle of an emoji has, numbers beyond all bounds, names that come twice. It is carried, since the log keeps what
//! was published and not what one parser made of it.

use std::sync::OnceLock;
use std::time::Duration;

use everwire_client::{
    ChannelUrl, Data, Info, Item, Line, LineOptions, LineStatus, LineWire, Message, Presence,
    Publication, PublishError, Publisher, Reader, Start, SubscribeOptions, Subscription, Update,
    Wire,
};
use everwire_server::{Config, Server};
use proptest::collection::vec;
use proptest::prelude::*;
use tokio::runtime::Runtime;
use tokio::time::timeout;

/// Texts that some parser stumbles over, beside those that are made up.
const KNOWN: [&str; 18] = [
    r#""\ud800""#,
    r#""cut in an emoji: \ud83d""#,
    r#"{"\udc00":1}"#,
    r#"["\ud83d\ude00","\ude00\ud83d"]"#,
    "1e400",
    "-1e400",
    "[1E+999999,1e-999999,-0,-0.0]",
    "123456789012345678901234567890.12345678901234567890",
    r#"{"a":1,"a":{"a":2},"a":[]}"#,
    r#"{"__proto__":{"x":1},"constructor":null,"":""}"#,
    r#""\u0000\u001f\u007f\u0085\u2028\ufeff\uffff""#,
    "\"\u{7f}\u{85}\u{2028}\u{2029}\u{feff}\u{ffff}\u{10ffff}\"",
    "{\r\n\t\"a\" :\r\n [ ]\n}",
    "null",
    "\"\"",
    r#""data: x\nid: 0\nevent: gap""#,
    r#"{"ev":"closed","channel":"any"}"#,
    r#"{"offset":"zz","data":1,"gap":{},"closed":true,"drain":{"after_ms":0}}"#,
];

/// A JSON text, with all the freedom that the grammar gives.
fn json() -> impl Strategy<Value = String> {
    let string = vec(
        prop_oneof![
            "[^\"\\\\\u{0}-\u{1f}]{0,5}",
            r#"\\["\\/bfnrt]"#,
            r"\\u[0-9a-fA-F]{4}",
            r"\\u[dD][89abAB][0-9a-f]{2}",
            r"\\u[dD][c-fC-F][0-9a-f]{2}",
        ],
        0..5,
    )
    .prop_map(|parts| format!("\"{}\"", parts.concat()));
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,20})?([eE][-+]?[0-9]{1,6})?",
        string.clone(),
    ];
    let value = leaf.prop_recursive(6, 24, 4, move |value| {
        let space = "[ \t\r\n]{0,2}";
        let member = (string.clone(), space, value.clone())
            .prop_map(|(name, space, value)| format!("{name}{space}:{space}{value}"));
        prop_oneof![
            (vec(value.clone(), 0..4), space)
                .prop_map(|(values, space)| format!("[{space}{}{space}]", values.join(","))),
            (vec(member, 0..4), space)
                .prop_map(|(members, space)| format!("{{{space}{}{space}}}", members.join(","))),
        ]
    });
    // As deep as is taken, too.
    let depth = prop_oneof![4 => Just(0_usize), 1 => 0_usize..110];
    (value, depth)
        .prop_map(|(value, depth)| format!("{}{value}{}", "[".repeat(depth), "]".repeat(depth)))
}

fn server() -> &'static str {
    static SERVER: OnceLock<(Server, String)> = OnceLock::new();
    let (_, url) = SERVER.get_or_init(|| {
        let mut config = Config {
            dev: true,
            threads: 2,
            ..Config::default()
        };
        config.listen.set_port(0);
        config.presence.linger_ms = 0;
        config.presence.info_bytes_max = 64 * 1024;
        let server = Server::start(config).unwrap();
        let url = format!("http://{}", server.address());
        (server, url)
    });
    url
}

/// A channel that no other test uses.
fn channel(what: &str) -> String {
    format!("{what}/{:x}", fastrand::u64(..))
}

fn from_the_beginning() -> SubscribeOptions {
    SubscribeOptions {
        start: Start::Beginning,
        waiting_max: 100_000,
        ..SubscribeOptions::default()
    }
}

/// The text as the log keeps it: on one line, whatever a reader takes for the end of one.
fn kept(published: &str) -> String {
    (published.replace(['\n', '\r'], " "))
        .replace('\u{85}', "\\u0085")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}

/// Checks that this is what was published: the text on one line, or what a string says.
#[track_caller]
fn check(published: &str, data: &Data, over: &str) {
    let kept = kept(published);
    match data {
        Data::Json(text) => assert_eq!(text, &kept, "over {over}"),
        Data::Text(text) => {
            let said: String = serde_json::from_str(&kept).expect("a string that text can hold");
            assert_eq!(text, &said, "over {over}");
        }
        Data::Binary(_) => panic!("{published} came as bytes over {over}"),
    }
}

async fn publish_all(name: &str, texts: &[String]) -> Result<(), PublishError> {
    let mut publisher = Publisher::new(ChannelUrl::on_server(server(), name).unwrap());
    for text in texts {
        publisher
            .publish(Message {
                // The outer array is a batch, so that each text is one entry.
                data: format!("[{text}]").into(),
                content_type: Some("application/json".into()),
                ..Message::default()
            })
            .await?;
    }
    Ok(())
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(60), future)
        .await
        .unwrap_or_else(|_| panic!("{what} does not come"))
}

async fn read_alone(wire: Wire, name: &str, texts: &[String]) {
    let url = ChannelUrl::on_server(server(), name).unwrap();
    let mut reader = Reader::new(url, wire, Start::Beginning);
    let mut texts = texts.iter();
    while texts.len() > 0 {
        match soon(wire.as_str(), reader.next()).await.unwrap().unwrap() {
            Item::Entry(entry) => check(texts.next().unwrap(), &entry.data, wire.as_str()),
            Item::Connected(_) => {}
            other => panic!("{other:?} over {wire}"),
        }
    }
}

/// Reads over a line beside a healthy channel, after publishing there by the line too.
async fn read_on_a_line(wire: LineWire, name: &str, texts: &[String]) {
    let options = LineOptions {
        wires: vec![wire],
        ..LineOptions::default()
    };
    let line = Line::connect(server().parse().unwrap(), options).unwrap();
    let healthy = line.channel(&channel("healthy")).unwrap();
    let own = line.channel(&channel("own")).unwrap();
    let read =
        |channel: &everwire_client::Channel| channel.subscribe(from_the_beginning()).unwrap();
    let mut subscriptions = (
        read(&line.channel(name).unwrap()),
        read(&own),
        read(&healthy),
    );
    for text in texts {
        let publication = Publication::from(Data::Json(text.clone()));
        own.publish(publication).await.unwrap();
        healthy.publish("well".into()).await.unwrap();
    }
    for text in texts {
        let over = wire.as_str();
        for subscription in [&mut subscriptions.0, &mut subscriptions.1] {
            check(text, &entry(over, subscription).await, over);
        }
        let well = entry(over, &mut subscriptions.2).await;
        assert_eq!(well, Data::Text("well".into()), "over {over}");
    }
    let mut read = Vec::new();
    let mut start = Start::Beginning;
    loop {
        let page = own.history(&start, 1000).await.unwrap();
        read.extend(page.entries);
        if page.up_to_date {
            break;
        }
        start = Start::After(page.offset);
    }
    assert_eq!(read.len(), texts.len());
    for (text, entry) in texts.iter().zip(read) {
        check(text, &entry.data, "history");
    }
    assert!(matches!(line.status(), LineStatus::Open { .. }), "{wire}");
    assert_eq!(line.unreadable(), 0);
    line.close().await;
}

async fn entry(over: &str, subscription: &mut Subscription) -> Data {
    match soon(over, subscription.next()).await.unwrap() {
        Some(Update::Entry(entry)) => entry.data,
        other => panic!("{other:?} over {over}"),
    }
}

fn arrives(texts: &[String]) {
    Runtime::new().unwrap().block_on(async {
        let name = channel("any");
        publish_all(&name, texts).await.unwrap();
        for wire in Wire::ALL {
            read_alone(wire, &name, texts).await;
        }
        for wire in LineWire::ALL {
            read_on_a_line(wire, &name, texts).await;
        }
    });
}

#[test]
fn what_parsers_stumble_over_arrives_on_every_wire() {
    let deepest = format!("{}7{}", "[".repeat(128), "]".repeat(128));
    let texts: Vec<_> = (KNOWN.map(str::to_owned).into_iter())
        .chain([deepest, format!("[{}]", "\"\\ud800\",".repeat(1000) + "1")])
        .collect();
    arrives(&texts);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_json_arrives_on_every_wire(texts in vec(json(), 1..60)) {
        arrives(&texts);
    }

    #[test]
    fn any_json_about_a_user_reaches_those_who_are_there(infos in vec(json(), 1..8)) {
        Runtime::new().unwrap().block_on(async {
            for wire in LineWire::ALL {
                tell_infos(wire, &infos).await;
            }
        });
    }
}

#[test]
fn what_parsers_stumble_over_may_be_told_about_a_user() {
    let deepest = format!("{}7{}", "[".repeat(128), "]".repeat(128));
    let infos: Vec<_> = KNOWN
        .map(str::to_owned)
        .into_iter()
        .chain([deepest])
        .collect();
    Runtime::new().unwrap().block_on(async {
        for wire in LineWire::ALL {
            tell_infos(wire, &infos).await;
        }
    });
}

/// Users come with these infos, and who watches hears of each, in a list and one by one.
async fn tell_infos(wire: LineWire, infos: &[String]) {
    let options = LineOptions {
        wires: vec![wire],
        ..LineOptions::default()
    };
    let connect = || Line::connect(server().parse().unwrap(), options.clone()).unwrap();
    let name = channel("lobby");
    let (watcher, line) = (connect(), connect());
    let watch = SubscribeOptions {
        presence: Some(Presence {
            join: false,
            ..Presence::default()
        }),
        ..from_the_beginning()
    };
    let mut watched = watcher.channel(&name).unwrap().subscribe(watch).unwrap();
    let over = wire.as_str();
    let first = soon(over, watched.next()).await.unwrap();
    assert!(matches!(first, Some(Update::Members(_))), "{first:?}");
    for (n, info) in infos.iter().enumerate() {
        let info: Info = info.parse().unwrap();
        let present = SubscribeOptions {
            presence: Some(Presence {
                user: Some(format!("u{n}")),
                info: Some(info.clone()),
                join: true,
            }),
            ..from_the_beginning()
        };
        let subscription = line.channel(&name).unwrap().subscribe(present).unwrap();
        // `null` says nothing.
        let kept = Some(kept(info.as_str())).filter(|kept| kept != "null");
        match soon(over, watched.next()).await.unwrap() {
            Some(Update::Join { info: told, .. }) => {
                assert_eq!(told.map(|told| told.to_string()), kept, "over {over}");
            }
            other => panic!("{other:?} over {over} for {kept:?}"),
        }
        let members = watcher.channel(&name).unwrap().members().await.unwrap();
        let name = format!("~u{n}");
        let member = members.listed.iter().find(|member| member.user == name);
        let listed = member.and_then(|member| member.info.as_ref());
        assert_eq!(listed.map(ToString::to_string), kept, "over {over}");
        drop(subscription);
        let left = soon(over, watched.next()).await.unwrap();
        assert!(matches!(left, Some(Update::Leave { .. })), "{left:?}");
    }
    assert_eq!(watcher.unreadable(), 0);
    for line in [watcher, line] {
        line.close().await;
    }
}

#[test]
fn what_is_no_json_or_too_deep_is_refused_at_the_door() {
    let too_deep = format!("{}7{}", "[".repeat(129), "]".repeat(129));
    Runtime::new().unwrap().block_on(async {
        let name = channel("door");
        for text in [
            r#""\ud80""#,
            r#""\x00""#,
            "\"\u{1f}\"",
            "01",
            "1e",
            "NaN",
            "{\"a\":1,}",
            "'a'",
            &too_deep,
        ] {
            let refused = publish_all(&name, &[text.to_owned()]).await;
            let Err(PublishError::Refused { status: 400, .. }) = refused else {
                panic!("{text} gave {refused:?}");
            };
        }
    });
}
