//! `everwire subscribe` and `everwire publish` as programs among others: in pipes, at wrong addresses, with entries that
//! a stranger wrote.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use everwire_server::{Config, Server};

fn server() -> (Server, String) {
    let mut config = Config {
        dev: true,
        threads: 1,
        ..Config::default()
    };
    config.listen.set_port(0);
    let server = Server::start(config).unwrap();
    let url = format!("http://{}", server.address());
    (server, url)
}

fn everwire(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_everwire"));
    command.args(args).env_clear().stdin(Stdio::null());
    command
}

fn run(args: &[&str]) -> Output {
    everwire(args).output().unwrap()
}

fn publish(url: &str, channel: &str, media_type: &str, data: &str) {
    let done = run(&[
        "publish", channel, data, "--type", media_type, "--server", url,
    ]);
    assert!(done.status.success(), "{done:?}");
}

#[test]
fn a_subscription_ends_with_its_reader_and_not_with_the_next_entry() {
    let (server, url) = server();
    publish(&url, "quiet", "application/json", "1");
    for wire in [&[][..], &["--wire", "ndjson"], &["--wire", "long-poll"]] {
        let mut args = vec![
            "subscribe",
            "quiet",
            "--from",
            "beginning",
            "-q",
            "--server",
            &url,
        ];
        args.extend(wire);
        let mut subscription = everwire(&args).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(subscription.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, "1\n");
        // Standard output has no reader any more, and nothing is published.
        let until = Instant::now() + Duration::from_secs(30);
        let status = loop {
            match subscription.try_wait().unwrap() {
                Some(status) => break status,
                None if Instant::now() > until => {
                    subscription.kill().unwrap();
                    panic!("{wire:?} goes on without a reader");
                }
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        assert!(status.success(), "{wire:?} ended with {status}");
    }
    server.stop().unwrap();
}

#[test]
fn each_entry_is_one_line_whatever_is_in_it() {
    let (server, url) = server();
    let read = |channel: &str, count: &str, more: &[&str]| {
        let mut args = vec![
            "subscribe",
            channel,
            "--from",
            "beginning",
            "--count",
            count,
            "-q",
            "--server",
            &url,
        ];
        args.extend(more);
        let read = run(&args);
        assert!(read.status.success(), "{read:?}");
        String::from_utf8(read.stdout).unwrap()
    };
    for text in ["one\ntwo\r\n", "\u{1b}[2J\u{7}", "\u{85}\u{2028}end"] {
        publish(&url, "text", "text/plain", text);
    }
    let lines = "one\\ntwo\\r\\n\n\\u001b[2J\\u0007\n\\u0085\\u2028end\n";
    for wire in [&[][..], &["--wire", "websocket"], &["--wire", "ndjson"]] {
        assert_eq!(read("text", "3", wire), lines, "{wire:?}");
    }
    let raw = "one\ntwo\r\n\0\u{1b}[2J\u{7}\0\u{85}\u{2028}end\0";
    assert_eq!(read("text", "3", &["-z"]), raw);
    assert_eq!(read("text", "1", &["--raw"]), "one\ntwo\r\n\n");

    for json in ["{\"a\":\n[1,\r\n2]}", "\"cut: \\ud83d\"", "1e400"] {
        publish(&url, "json", "application/json", json);
    }
    let lines = "{\"a\": [1,  2]}\n\"cut: \\ud83d\"\n1e400\n";
    for wire in [
        &[][..],
        &["--wire", "websocket"],
        &["--wire", "event-stream"],
        &["--wire", "ndjson"],
        &["--wire", "long-poll"],
        &["--wire", "polling"],
    ] {
        assert_eq!(read("json", "3", wire), lines, "{wire:?}");
    }
    server.stop().unwrap();
}

#[test]
fn a_wrong_address_is_told_in_words() {
    let (server, url) = server();
    let (_, authority) = url.split_once("://").unwrap();
    for (address, expected) in [
        (authority.to_owned(), format!("write http://{authority}")),
        (
            format!("https://{authority}"),
            "does not speak TLS; write http://".into(),
        ),
        (
            format!("{url}/channels/news"),
            format!("is the URL of a channel; its server is {url}"),
        ),
        (
            format!("{url}/elsewhere"),
            "nothing at this address; channels are at".into(),
        ),
        (
            "ftp://example.org".into(),
            "write it as http://127.0.0.1:8080".into(),
        ),
    ] {
        let published = run(&[
            "publish",
            "news",
            "hi",
            "--retry-for",
            "0",
            "--server",
            &address,
        ]);
        let words = String::from_utf8_lossy(&published.stderr).into_owned();
        assert!(!published.status.success(), "publish to {address}");
        assert!(
            words.contains(&expected),
            "publish to {address} said {words}"
        );

        // Some it tries again, and says so each time.
        let mut subscription = everwire(&["subscribe", "news", "--server", &address])
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut words = String::new();
        let mut notices = BufReader::new(subscription.stderr.take().unwrap());
        notices.read_line(&mut words).unwrap();
        subscription.kill().unwrap();
        subscription.wait().unwrap();
        assert!(
            words.contains(&expected),
            "subscribe at {address} said {words}"
        );
    }
    // Where sockets are meant, that is told by their scheme.
    let done = run(&[
        "publish",
        "news",
        "hi",
        "--server",
        &format!("ws://{authority}"),
    ]);
    assert!(done.status.success(), "{done:?}");
    server.stop().unwrap();
}

#[test]
fn a_server_that_is_named_by_an_empty_variable_is_not_named() {
    let mut subscription = everwire(&["subscribe", "news"])
        .env("EVERWIRE_SERVER", "")
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut words = [0; 64];
    let read = subscription
        .stderr
        .take()
        .unwrap()
        .read(&mut words)
        .unwrap();
    subscription.kill().unwrap();
    subscription.wait().unwrap();
    let words = String::from_utf8_lossy(&words[..read]).into_owned();
    assert!(!words.contains("cannot address"), "{words}");
}

/// What `everwire config` says with these variables, on both streams.
fn config(variables: &[(&str, &str)], args: &[&str]) -> (bool, String) {
    let mut command = everwire(&[&["config"], args].concat());
    let output = command.envs(variables.iter().copied()).output().unwrap();
    let said = [output.stderr, output.stdout].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

#[test]
fn a_misspelt_variable_is_told_and_an_empty_one_is_not_set() {
    for (variables, expected) in [
        (
            &[("EVERWIRE_HTTP_ORIGINS", "https://a.example")][..],
            "EVERWIRE_HTTP_ORIGINS sets nothing; did you mean EVERWIRE_HTTP__ORIGINS?",
        ),
        (
            &[("EVERWIRE_PORT", "9000")],
            "did you mean EVERWIRE_LISTEN?",
        ),
        (
            &[
                ("EVERWIRE_CONFIG", ""),
                ("EVERWIRE_LISTEN", ""),
                ("EVERWIRE_LIMITS__LINES_MAX", ""),
                ("EVERWIRE_HTTP__ORIGINS", ""),
            ],
            "listen = \"127.0.0.1:8080\"",
        ),
        (
            &[("EVERWIRE_LISTEN", ":8080, [::1]:8081,8082")],
            "listen = [\":8080\", \"[::1]:8081\", \"localhost:8082\"]",
        ),
    ] {
        let (done, said) = config(variables, &[]);
        assert!(
            done && said.contains(expected),
            "{variables:?} gave {said:.300}"
        );
    }
    // A service of this name in Kubernetes.
    let service = [
        ("EVERWIRE_PORT", "tcp://10.0.0.1:8080"),
        ("EVERWIRE_SERVICE_HOST", "10.0.0.1"),
        ("EVERWIRE_PORT_8080_TCP_ADDR", "10.0.0.1"),
    ];
    let (done, said) = config(&service, &[]);
    assert!(done && !said.contains("sets nothing"), "{said:.300}");
}

#[test]
fn a_wrong_value_is_told_with_where_it_was_said() {
    for (variables, args, expected) in [
        (
            &[("EVERWIRE_LIMITS__LINES_MAX", "many")][..],
            &[][..],
            "EVERWIRE_LIMITS__LINES_MAX is \"many\"; write a whole number",
        ),
        (
            &[("EVERWIRE_DEV", "perhaps")],
            &[],
            "EVERWIRE_DEV is \"perhaps\"; write true or false",
        ),
        (
            &[],
            &["--limits.lines-max", "-1"],
            "limits.lines_max: is the number -1; write a whole number, 0 or more",
        ),
        (
            &[],
            &["--listen", "example.org:80"],
            "listen: is `example.org:80`, whose host is a name",
        ),
        (
            &[("EVERWIRE_LISTEN", "localhost")],
            &[],
            "listen: is `localhost`, an address without a port",
        ),
        (
            &[],
            &["--tls.mode", "on"],
            "tls.mode: is `on`; write one of `off`, `only`, `both`",
        ),
    ] {
        let (done, said) = config(variables, args);
        assert!(
            !done && said.contains(expected),
            "{variables:?} {args:?} gave {said:.300}"
        );
    }
}

#[test]
fn all_addresses_are_served_and_one_that_cannot_be_is_told_with_what_to_do() {
    let mut config = Config {
        listen: "127.0.0.1:0,127.0.0.2:0".parse().unwrap(),
        threads: 2,
        dev: true,
        ..Config::default()
    };
    let server = Server::start(config.clone()).unwrap();
    for address in server.addresses() {
        publish(
            &format!("http://{address}"),
            "news",
            "application/json",
            "1",
        );
    }
    config.listen = server.address().into();
    let taken = Server::start(config.clone()).err().unwrap().to_string();
    assert!(taken.contains("stop what listens there"), "{taken}");
    // An address for documentation (RFC 5737).
    config.listen = "192.0.2.1:8080".parse().unwrap();
    config.dev = false;
    let foreign = Server::start(config).err().unwrap().to_string();
    assert!(
        foreign.contains("no interface of this machine has this address"),
        "{foreign}"
    );
    server.stop().unwrap();
}
