//! The whole program, with the floor in the place of the server.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const BENCH: &str = env!("CARGO_BIN_EXE_everwire-bench");

/// A script that is started as a server is, notes its process id, and becomes the floor.
fn server(name: &str) -> (PathBuf, PathBuf) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (script, pid) = (
        folder.join(format!("{name}.sh")),
        folder.join(format!("{name}.pid")),
    );
    let _ = fs::remove_file(&pid);
    let text = format!(
        "#!/bin/sh\necho $$ > '{}'\necho \"$@\"\nexec '{BENCH}' floor\n",
        pid.display()
    );
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    (script, pid)
}

/// Whether there is such a process. One that has ended may wait for its parent to be told.
fn is_running(pid: &str) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(pid.trim()).join("stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn a_run_reports_each_row_with_its_ratio() {
    let (script, pid) = server("reports");
    let json = Path::new(env!("CARGO_TARGET_TMPDIR")).join("reports.json");
    let output = Command::new(BENCH)
        .args([
            "run",
            "--only",
            "publish,connect",
            "--rounds",
            "1",
            "--seconds",
            "0.2",
            "--server",
        ])
        .arg(&script)
        .arg("--json")
        .arg(&json)
        .output()
        .unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );

    let rows: Vec<&str> = shown
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect();
    assert_eq!(rows.len(), 5, "{shown}");
    assert!(
        rows[0].starts_with("publish connections=8 pipelined=1 entries=1 readers=0 per_s="),
        "{shown}"
    );
    assert!(
        rows[4].starts_with("connect wire=websocket per_s="),
        "{shown}"
    );

    let report: Value = serde_json::from_slice(&fs::read(json).unwrap()).unwrap();
    assert_eq!(report["publish"].as_array().unwrap().len(), 4);
    for row in ["publish", "connect"]
        .iter()
        .flat_map(|table| report[table].as_array().unwrap())
    {
        // Server and floor are the same program here. Short as it is, more would be an error.
        let ratio = row["cpu_ratio"].as_f64().unwrap();
        assert!((0.2..5.0).contains(&ratio), "{row}");
    }
    assert!(
        !is_running(&fs::read_to_string(pid).unwrap()),
        "the server was left running"
    );
}

/// A run that measures less than a document tells must leave it alone, and says so at once.
#[test]
fn a_document_takes_only_figures_of_a_whole_run() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (document, new) = (folder.join("document.md"), folder.join("new.md"));
    let text = "prose\n<!-- figures -->\nold\n<!-- end of figures -->\n";
    fs::write(&document, text).unwrap();
    let _ = fs::remove_file(&new);
    let run = |path: &Path| {
        Command::new(BENCH)
            .args(["run", "--quick", "--only", "connect", "--seconds", "0.1"])
            .arg("--markdown")
            .arg(path)
            .output()
            .unwrap()
    };
    let refused = run(&document);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(
        !refused.status.success() && said.contains("whole run"),
        "{said}"
    );
    assert!(refused.stdout.is_empty(), "nothing was measured first");
    assert_eq!(fs::read_to_string(&document).unwrap(), text);

    let written = run(&new);
    let said = String::from_utf8(written.stderr).unwrap();
    assert!(written.status.success(), "{said}");
    let table = fs::read_to_string(&new).unwrap();
    assert!(table.contains("### Connecting and closing"), "{table}");
    assert!(table.contains("\n- machine: "), "{table}");
}

#[test]
fn a_run_that_is_told_to_stop_stops_its_server() {
    let (script, pid) = server("stops");
    let run = Command::new(BENCH)
        .args([
            "run",
            "--only",
            "connect",
            "--rounds",
            "1000",
            "--seconds",
            "0.1",
            "--server",
        ])
        .arg(&script)
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while fs::read_to_string(&pid).unwrap_or_default().is_empty() {
        assert!(Instant::now() < deadline, "the server was not started");
        thread::yield_now();
    }
    kill_process(Pid::from_child(&run), Signal::TERM).unwrap();
    let output = run.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success() && said.contains("interrupted"),
        "{said}"
    );
    assert!(
        !is_running(&fs::read_to_string(pid).unwrap()),
        "the server was left running"
    );
}

/// A description of the floor that starts it as the child of a script, which notes the child's id.
fn described_floor(name: &str) -> (PathBuf, PathBuf) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (description, pid) = (
        folder.join(format!("{name}.toml")),
        folder.join(format!("{name}-child.pid")),
    );
    let _ = fs::remove_file(&pid);
    let text = format!(
        "name = '{name}'\nversion = ['echo', 'floor 1']\n\
         [start]\ncommand = ['sh', '{{dir}}/start.sh']\nready = 'listening on'\n\
         [start.files]\n\"start.sh\" = \"\"\"\n\
         '{BENCH}' floor --listen 127.0.0.1:{{port}} &\necho $! > {}\nwait\n\"\"\"\n\
         [websocket]\npath = '/{{channel}}'\n\
         [publish]\npath = '/{{channel}}'\nbody = '{{data}}'\n",
        pid.display()
    );
    fs::write(&description, text).unwrap();
    (description, pid)
}

#[test]
fn a_described_server_stands_beside_and_its_children_are_stopped() {
    let (description, pid) = described_floor("described");
    let output = Command::new(BENCH)
        .args(["run", "--only", "publish,connect", "--rounds", "1"])
        .args(["--seconds", "0.2", "--rival"])
        .arg(&description)
        .output()
        .unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        shown.contains("\n# rivals: described: floor 1\n"),
        "{shown}"
    );
    let beside: Vec<&str> = shown
        .lines()
        .filter(|line| line.contains("_beside "))
        .collect();
    assert_eq!(beside.len(), 5, "{shown}");
    for row in beside {
        // The time that the script's child takes is the script's, and it is the floor too.
        let (_, ratio) = row.split_once(" described_ratio=").expect(row);
        assert!((0.2..5.0).contains(&ratio.parse::<f64>().unwrap()), "{row}");
    }
    assert!(
        !is_running(&fs::read_to_string(pid).unwrap()),
        "the rival's child was left running"
    );
}

#[test]
fn a_rival_that_fails_has_that_as_its_result() {
    let description = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fails.toml");
    let text = "name = 'fails'\n[start]\ncommand = ['sh', '-c', 'echo no port; exit 3']\n\
                [websocket]\npath = '/'\npublish = '{data}'\n";
    fs::write(&description, text).unwrap();
    let output = Command::new(BENCH)
        .args(["run", "--only", "connect", "--rounds", "2"])
        .args(["--seconds", "0.1", "--rival"])
        .arg(&description)
        .output()
        .unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{shown}");
    assert!(shown.contains(" fails_ratio=failed\n"), "{shown}");
    let note = "# fails, connect and close: it did not accept a connection; \
                it ended with exit status: 3; its last words: | no port; fails did not start\n";
    assert!(shown.contains(note), "{shown}");
}

#[test]
fn a_server_that_fails_is_quoted() {
    let output = Command::new(BENCH)
        .args([
            "run",
            "--only",
            "connect",
            "--rounds",
            "1",
            "--seconds",
            "0.1",
            "--server",
            "/bin/echo",
        ])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(said.contains("the server did not start"), "{said}");
    assert!(
        said.contains("| serve --dev --listen 127.0.0.1:0 --threads 1"),
        "{said}"
    );
}
