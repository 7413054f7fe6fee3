//! The configuration is read anew by SIGHUP, and when a file that it is read from has changed.

use std::{fs, os::unix::fs::symlink, process::Command};

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
