//! The configuration is read anew by SIGHUP, and when a file that it is read from has changed.

use std::{fs, io::Write, os::unix::fs::symlink, path::Path, process::Command};

use super::process::{Process, replace};

const READ: &str = "[channels]\nanonymous = [\"read\", \"publish\"]\n";
const PUBLISH: &str = "[channels]\nanonymous = [\"publish\"]\n";

const APPLIED: &str = "the configuration was reloaded";
const REFUSED: &str = "the configuration could not be reloaded; the old one holds on, whole";

fn status(process: &Process) -> u16 {
    process.ask("GET /channels/c").0
}

#[test]
fn sighup_has_the_file_read_anew() {
    let process = Process::start(&format!("reload.on_change = false\n{PUBLISH}"));
    assert_eq!(process.ask("POST /channels/c\nhello").0, 204);
    assert_eq!(status(&process), 401);
    process.write_config(&format!("reload.on_change = false\nthreads = 9\n{READ}"));
    process.signal("HUP");
    assert!(process.logged(APPLIED).contains("SIGHUP"));
    assert_eq!(status(&process), 200);
}

#[test]
fn a_change_of_the_file_is_noticed() {
    let process = Process::start(PUBLISH);
    assert_eq!(process.ask("POST /channels/c\nhello").0, 204);
    process.write_config(READ);
    process.logged(APPLIED);
    assert_eq!(status(&process), 200, "put in its place");
    fs::write(process.file("everwire.toml"), PUBLISH).unwrap();
    process.logged(APPLIED);
    assert_eq!(status(&process), 401, "written over");
}

/// Runs a command on a file, as a person does.
fn run(command: &str, arguments: &[&Path]) {
    let mut shell = Command::new("sh");
    let done = shell.args(["-c", command, "sh"]).args(arguments).status();
    assert!(done.unwrap().success(), "{command}");
}

/// As editors and tools put another text into a file.
type Save = fn(file: &Path, text: &str);

const SAVES: [(&str, Save); 10] = [
    ("cp", |file, text| {
        fs::write(file.with_extension("new"), text).unwrap();
        run("cp \"$1\" \"$2\"", &[&file.with_extension("new"), file]);
    }),
    ("a shell's redirection", |file, text| {
        fs::write(file.with_extension("new"), text).unwrap();
        run("cat \"$1\" > \"$2\"", &[&file.with_extension("new"), file]);
    }),
    ("sed -i", |file, text| {
        let line = text.lines().last().unwrap();
        run(&format!("sed -i 's/^anonymous.*/{line}/' \"$1\""), &[file]);
    }),
    ("install", |file, text| {
        fs::write(file.with_extension("new"), text).unwrap();
        run(
            "install -m 600 \"$1\" \"$2\"",
            &[&file.with_extension("new"), file],
        );
    }),
    ("vim, which makes the file anew", |file, text| {
        let old = file.with_extension("toml~");
        fs::rename(file, &old).unwrap();
        in_two_parts(file, text);
        fs::remove_file(old).unwrap();
    }),
    ("nano, which writes over it", in_two_parts),
    ("rsync", |file, text| {
        let beside = file.with_file_name(".everwire.toml.aB3xYz");
        in_two_parts(&beside, text);
        fs::rename(beside, file).unwrap();
    }),
    ("a hard link", |file, text| {
        let beside = file.with_extension("version");
        fs::write(&beside, text).unwrap();
        fs::remove_file(file).unwrap();
        fs::hard_link(&beside, file).unwrap();
        fs::remove_file(beside).unwrap();
    }),
    ("ln -sfn", |file, text| {
        let target = file.with_extension("target");
        fs::write(&target, text).unwrap();
        run("ln -sfn \"$1\" \"$2\"", &[&target, file]);
    }),
    ("over a link", |file, text| fs::write(file, text).unwrap()),
];

fn in_two_parts(file: &Path, text: &str) {
    let (begin, end) = text.split_at(text.len() / 2);
    let mut file = fs::File::create(file).unwrap();
    file.write_all(begin.as_bytes()).unwrap();
    file.sync_all().unwrap();
    file.write_all(end.as_bytes()).unwrap();
}

#[test]
fn a_file_is_taken_however_it_is_saved() {
    let process = Process::start(PUBLISH);
    assert_eq!(process.ask("POST /channels/c\nhello").0, 204);
    for (index, (name, save)) in SAVES.into_iter().enumerate() {
        let (text, expected) = [(READ, 200), (PUBLISH, 401)][index % 2];
        save(&process.file("everwire.toml"), text);
        process.logged(APPLIED);
        assert_eq!(status(&process), expected, "{name}");
    }
    let refused = process.metric("everwire_reloads_total{outcome=\"refused\"}");
    assert_eq!(refused, 0, "nothing was looked at that was not whole");
}

#[test]
fn a_file_that_is_half_written_is_not_applied() {
    let rest = "[[rules]]\nmatch = \"internal/**\"\nanonymous = []\n";
    let process = Process::start(&format!("{READ}{rest}"));
    let status = |process: &Process| process.ask("GET /channels/internal/x").0;
    assert_eq!(status(&process), 401);
    let mut file = fs::File::create(process.file("everwire.toml")).unwrap();
    file.write_all(READ.as_bytes()).unwrap();
    process.logged("a file of the configuration is being written");
    assert_eq!(
        status(&process),
        401,
        "half of it grants more than all of it"
    );
    file.write_all(format!("{rest}# anew\n").as_bytes())
        .unwrap();
    drop(file);
    process.logged(APPLIED);
    assert_eq!(status(&process), 401);
}

#[test]
fn a_file_that_was_cut_off_is_applied_by_an_order_only() {
    let rest = "[[rules]]\nmatch = \"internal/**\"\nanonymous = []\n";
    let process = Process::start(&format!("{READ}{rest}"));
    let status = |process: &Process| process.ask("GET /channels/internal/x").0;
    for (cut, reason) in [
        (String::new(), "it is empty, and was not"),
        (
            format!("{READ}[[rules]]\nmatch = \"i/**\""),
            "its last line has no end",
        ),
    ] {
        fs::write(process.file("everwire.toml"), &cut).unwrap();
        let line = process.logged(REFUSED);
        assert!(line.contains(reason) && line.contains("SIGHUP"), "{line}");
        assert_eq!(status(&process), 401, "{cut:?}");
    }
    assert_eq!(
        process.metric("everwire_reloads_total{outcome=\"refused\"}"),
        2
    );
    process.signal("HUP");
    process.logged(APPLIED);
    assert_eq!(status(&process), 404, "the operator's word");
}

/// A key that is cut off would be another key, or none.
#[test]
fn a_key_that_is_half_written_or_empty_is_not_applied() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    fs::write(&secret, "a".repeat(32) + "\n").unwrap();
    let process = Process::start(&format!(
        "[[tokens.keys]]\nalg = \"HS256\"\nsecret_file = {secret:?}\n"
    ));
    let mut file = fs::File::create(&secret).unwrap();
    file.write_all(&[b'b'; 40]).unwrap();
    process.logged("a file of the configuration is being written");
    drop(file);
    process.logged(REFUSED);
    fs::write(&secret, "").unwrap();
    assert!(process.logged(REFUSED).contains("it is empty"));
    replace(&secret, &"c".repeat(32));
    process.logged(APPLIED);
}

#[test]
fn a_bad_file_leaves_the_old_configuration_whole_and_is_told_with_its_place() {
    let process = Process::start(READ);
    assert_eq!(process.ask("POST /channels/c\nhello").0, 204);
    for (bad, expected) in [
        ("[channels]\nanonymous = [\"reed\"]\n", "line 2, column 14"),
        ("[channels]\nanonymous = [\n", "line 2, column 14"),
        (
            "\n[http]\n  heartbeat_ms = 7\n",
            "line 3, column 3: `http.heartbeat_ms` must be",
        ),
        (
            "[[tokens.keys]]\nalg = \"EdDSA\"\npublic_key_file = \"/nowhere.pem\"\n",
            "line 3, column 1: `tokens.keys[0].public_key_file`",
        ),
    ] {
        process.write_config(bad);
        let line = process.logged(REFUSED);
        assert!(line.contains(expected), "{bad:?} gave {line}");
        assert!(line.contains("everwire.toml"), "{line}");
        assert_eq!(status(&process), 200);
    }
    process.write_config(PUBLISH);
    process.logged(APPLIED);
    assert_eq!(status(&process), 401, "the next good one is taken");
    let metrics = process.ask("GET /metrics").1;
    assert!(
        metrics.contains("everwire_reloads_total{outcome=\"refused\"} 4\n"),
        "{metrics}"
    );
    assert!(
        metrics.contains("everwire_reloads_total{outcome=\"applied\"} 1\n"),
        "{metrics}"
    );
}

/// As Kubernetes puts a secret's next version into a volume, and as certificates are linked to.
#[test]
fn a_file_that_the_configuration_names_is_looked_after_through_links() {
    let folder = tempfile::tempdir().unwrap();
    let at = |path: &str| folder.path().join(path);
    let volume = |version: &str, secret: &str| {
        fs::create_dir(at(version)).unwrap();
        fs::write(at(version).join("secret"), secret).unwrap();
        symlink(version, at("next")).unwrap();
        fs::rename(at("next"), at("..data")).unwrap();
    };
    volume("..1", &"a".repeat(32));
    symlink("..data/secret", at("secret")).unwrap();
    let process = Process::start(&format!(
        "[[tokens.keys]]\nalg = \"HS256\"\nsecret_file = {:?}\n",
        at("secret")
    ));
    volume("..2", "short");
    let line = process.logged(REFUSED);
    assert!(
        line.contains("line 3, column 1: `tokens.keys[0].secret_file`"),
        "{line}"
    );
    volume("..3", &"b".repeat(32));
    process.logged(APPLIED);
    replace(&at("..3").join("secret"), &"c".repeat(32));
    process.logged(APPLIED);
}

#[test]
fn a_file_is_checked_without_a_server() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("everwire.toml");
    let check = |text: &str| {
        fs::write(&file, text).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_everwire"))
            .args(["config", "--check"])
            .arg(&file)
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    };
    let (good, said) = check(READ);
    assert!(good && said.ends_with("everwire.toml is fine\n"), "{said}");
    for (text, expected) in [
        ("threads = \"many\"\n", "line 1, column 11"),
        (
            "\n[limits]\nhead_bytes_max = 1\n",
            "line 3, column 1: `limits.head_bytes_max`",
        ),
        (
            "keys = [{ id = \"A\", sha256 = \"\", channels = [] }]\n",
            "line 1, column 11: `keys[0].id`",
        ),
    ] {
        let (good, said) = check(text);
        assert!(!good && said.contains(expected), "{text:?} gave {said}");
    }
}
