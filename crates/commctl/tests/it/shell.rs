//! `commctl completion` and `commctl man`

use std::process::Command;

use crate::support::Home;

#[tokio::test]
async fn completion_scripts_are_scripts() {
    let home = Home::empty();
    for (shell, known) in [
        ("bash", "complete -F _commctl"),
        ("zsh", "#compdef commctl"),
        ("fish", "complete -c commctl"),
    ] {
        let run = home.run(&["completion", shell]).await;
        assert_eq!(run.status, 0, "{}", run.stderr);
        assert!(run.stdout.contains(known) && run.stdout.contains("container_manager"), "{shell}");
        if shell == "bash" {
            let script = home.dir.path().join("script");
            std::fs::write(&script, &run.stdout).unwrap();
            assert!(Command::new("bash").arg("-n").arg(script).status().unwrap().success());
        }
    }
    assert_eq!(home.run(&["completion", "csh"]).await.status, 2);
}

#[tokio::test]
async fn every_command_has_a_man_page() {
    let home = Home::empty();
    let run = home.run(&["man", "man1"]).await;
    assert_eq!(run.status, 0, "{}", run.stderr);
    let page = |name: &str| std::fs::read_to_string(home.dir.path().join("man1").join(name));
    assert!(page("commctl.1").unwrap().contains(".TH commctl 1"));
    assert!(page("commctl-enroll-create.1").unwrap().contains("\\-\\-uses"));

    std::fs::write(home.dir.path().join("file"), "").unwrap();
    home.run(&["man", "file"])
        .await
        .failed(1, "error: cannot write to file: File exists (os error 17)\n");
}
