use host_access::{Claim, ClaimMode, Mark, Os, Playbook, Refusal};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::*;

const ADDRESS: &str = "10.0.0.1";
const TIMEOUT: Duration = Duration::from_mins(5);

fn target(host_keys: &[&str]) -> Target {
    Target {
        address: ADDRESS.to_owned(),
        port: 22,
        user: "root".to_owned(),
        private_key: "key".into(),
        host_keys: host_keys.iter().map(ToString::to_string).collect(),
    }
}

async fn connected() -> (SimulatedHosts, Box<dyn Session>) {
    let hosts = SimulatedHosts::default();
    hosts.add(ADDRESS);
    let session = hosts.connect(&target(&[]), TIMEOUT).await.unwrap();
    (hosts, session)
}

/// What the restart of a Debian host is asked with.
fn vars(boot_id: &str) -> Map<String, Value> {
    let command = Os::Debian.commands("", false).restart;
    let vars = json!({"commissaire_boot_id": boot_id, "commissaire_restart_command": command});
    vars.as_object().unwrap().clone()
}

fn vars_with_go_ahead(boot_id: &str, name: Uuid) -> Map<String, Value> {
    let mut vars = vars(boot_id);
    vars.insert("commissaire_go_ahead".to_owned(), json!(name.to_string()));
    vars
}

/// The claim of an installation in this generation.
fn claim(generation: u64) -> Claim {
    let mark = Mark { generation, id: format!("g{generation}"), signature: "AAAA".to_owned() };
    Claim { instance: "i".to_owned(), mark, mode: ClaimMode::Take }
}

/// Plays the restart with a go-ahead that `delay` makes late; what it reports.
async fn restarted(
    hosts: &SimulatedHosts,
    session: &dyn Session,
    delay: u64,
) -> Map<String, Value> {
    hosts.edit(ADDRESS, |machine| machine.go_ahead_delay = Duration::from_millis(delay));
    let name = Uuid::from_u128(1);
    let vars = vars_with_go_ahead(&hosts.boot_id(ADDRESS), name);
    let mut ignore = |_| {};
    let give = async {
        let mut channel = session.go_ahead(name).await.unwrap();
        let uptime = channel.uptime().await.unwrap();
        channel.give(uptime, Instant::now(), &claim(2)).await.unwrap();
    };
    let play = session.play(Playbook::Restart, &vars, TIMEOUT, &mut ignore);
    tokio::join!(play, give).0.unwrap().data
}

#[tokio::test(start_paused = true)]
async fn host_reboots_once_it_has_its_go_ahead() {
    let (hosts, session) = connected().await;
    let before = hosts.boot_id(ADDRESS);
    assert_eq!(restarted(&hosts, session.as_ref(), 0).await, Map::new());
    assert_eq!(hosts.commands().len(), 1);
    assert!(session.is_alive().await, "it shuts down first");
    sleep(Duration::from_secs(3)).await;
    assert!(!session.is_alive().await && !hosts.is_port_open(ADDRESS, 22, TIMEOUT).await);
    sleep(Duration::from_secs(20)).await;
    assert!(hosts.is_port_open(ADDRESS, 22, TIMEOUT).await);
    let session = hosts.connect(&target(&[]), TIMEOUT).await.unwrap();
    assert_ne!(session.boot_id().await.unwrap(), before);
    // Asked for the boot from before, it does nothing.
    let vars = vars_with_go_ahead(&before, Uuid::from_u128(2));
    session.play(Playbook::Restart, &vars, TIMEOUT, &mut |_| {}).await.unwrap();
    assert_eq!(hosts.commands().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn go_ahead_that_arrives_late_has_no_effect() {
    let (hosts, session) = connected().await;
    let data = restarted(&hosts, session.as_ref(), 1000).await;
    assert_eq!(data["commissaire_go_ahead"], "late");
    assert_eq!(hosts.commands(), []);
}

#[tokio::test(start_paused = true)]
async fn host_with_the_mark_of_a_newer_generation_does_nothing() {
    let (hosts, session) = connected().await;
    assert_eq!(session.claim(&claim(1)).await.unwrap(), None);
    assert_eq!(session.claim(&claim(3)).await.unwrap(), None);
    let data = restarted(&hosts, session.as_ref(), 0).await;
    let refusal = Refusal::find(data["commissaire_go_ahead"].as_str().unwrap());
    assert_eq!(refusal, session.claim(&claim(2)).await.unwrap());
    assert_eq!(refusal.unwrap().marks, [claim(3).mark]);
    let vars = json!({"commissaire_claim": claim(2).to_string()}).as_object().unwrap().clone();
    let played = session.play(Playbook::Bootstrap, &vars, TIMEOUT, &mut |_| {}).await;
    assert!(matches!(played, Err(PlaybookError::Fenced { .. })), "{played:?}");
    assert_eq!(hosts.commands(), []);
}

#[tokio::test(start_paused = true)]
async fn signature_is_that_of_the_own_key() {
    let hosts = SimulatedHosts::default();
    let signature = hosts.sign(&OWN_KEY.into(), "text").await.unwrap();
    for (text, signature, signer) in [
        ("text", signature.clone(), Some(FINGERPRINT.to_owned())),
        ("another", signature, None),
        ("text", hosts.sign(&"other".into(), "text").await.unwrap(), None),
    ] {
        assert_eq!(hosts.signer(text, &signature).await.unwrap(), signer);
    }
}

#[tokio::test(start_paused = true)]
async fn playbook_without_a_go_ahead_expires() {
    let (hosts, session) = connected().await;
    let vars = vars_with_go_ahead(&hosts.boot_id(ADDRESS), Uuid::from_u128(1));
    let played = session.play(Playbook::Restart, &vars, TIMEOUT, &mut |_| {}).await.unwrap();
    assert_eq!(played.data["commissaire_go_ahead"], "expired");
    assert_eq!(hosts.commands(), []);
}

#[tokio::test(start_paused = true)]
async fn host_rejects_a_command_that_it_does_not_know() {
    let (hosts, session) = connected().await;
    let mut vars = vars(&hosts.boot_id(ADDRESS));
    vars.insert("commissaire_restart_command".to_owned(), json!("restart"));
    let played = session.play(Playbook::Restart, &vars, TIMEOUT, &mut |_| {}).await;
    assert!(matches!(played, Err(PlaybookError::Failed { .. })), "{played:?}");
    assert_eq!(hosts.commands(), []);
}

#[tokio::test(start_paused = true)]
async fn lost_connection_hides_whether_the_command_was_carried_out() {
    for (before, after, commands) in [(1, 0, 0), (0, 1, 1)] {
        let (hosts, session) = connected().await;
        hosts.edit(ADDRESS, |machine| {
            (machine.loses_commands, machine.loses_answers) = (before, after);
        });
        let vars = vars(&hosts.boot_id(ADDRESS));
        let played = session.play(Playbook::Restart, &vars, TIMEOUT, &mut |_| {}).await;
        assert!(matches!(played, Err(PlaybookError::Unreachable { .. })), "{played:?}");
        assert_eq!(hosts.commands().len(), commands);
    }
}

#[tokio::test(start_paused = true)]
async fn log_in_fails_as_the_host_is_told_to() {
    let (hosts, _) = connected().await;
    let error = hosts.connect(&target(&["ssh-ed25519 other"]), TIMEOUT).await.unwrap_err();
    assert!(matches!(error, AccessError::KeyChanged { .. }), "{error}");
    for (log_in, reason) in [(LogIn::Refused, "auth-refused"), (LogIn::Throttled, "throttled")] {
        hosts.edit(ADDRESS, |machine| machine.log_in = log_in);
        let error = hosts.connect(&target(&[]), TIMEOUT).await.unwrap_err();
        assert_eq!(error.reason().word(), reason);
    }
    hosts.edit(ADDRESS, |machine| machine.log_in = LogIn::Silent);
    for _ in 0..2 {
        let begun = Instant::now();
        let error = hosts.connect(&target(&[]), TIMEOUT).await.unwrap_err();
        assert_eq!((error.reason().word(), begun.elapsed()), ("unreachable", TIMEOUT));
        hosts.power_off(ADDRESS);
    }
}

#[tokio::test(start_paused = true)]
async fn severed_handle_does_nothing_more_while_others_go_on() {
    let (hosts, _) = connected().await;
    let handle = hosts.handle();
    let session = handle.connect(&target(&[]), TIMEOUT).await.unwrap();
    handle.sever();
    let answer = tokio::time::timeout(Duration::from_hours(1), session.boot_id()).await;
    assert!(answer.is_err());
    assert!(hosts.probe(&target(&[]), TIMEOUT).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn upgrade_goes_on_when_the_connection_is_lost() {
    let (hosts, session) = connected().await;
    let vars = json!({"commissaire_unit": "u"}).as_object().unwrap().clone();
    let upgrade = async |session: &dyn Session| {
        session.play(Playbook::Upgrade, &vars, TIMEOUT, &mut |_| {}).await
    };
    let cut = async {
        sleep(Duration::from_secs(30)).await;
        hosts.cut(ADDRESS);
    };
    let (lost, ()) = tokio::join!(upgrade(session.as_ref()), cut);
    assert!(matches!(lost, Err(PlaybookError::Unreachable { .. })), "{lost:?}");
    let begun = Instant::now();
    let session = hosts.connect(&target(&[]), TIMEOUT).await.unwrap();
    upgrade(session.as_ref()).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(40), "it has not begun again");
}

#[tokio::test(start_paused = true)]
async fn host_counts_as_available_if_it_was_at_any_moment_since() {
    let (hosts, _) = connected().await;
    let was_available = || {
        let then = Instant::now() - STALE;
        hosts.edit(ADDRESS, |machine| machine.was_available_since(then))
    };
    hosts.power_off(ADDRESS);
    sleep(Duration::from_millis(100)).await;
    assert!(was_available());
    sleep(STALE).await;
    assert!(!was_available());
    hosts.edit(ADDRESS, |machine| machine.boot = Some(Duration::ZERO));
    hosts.power_on(ADDRESS);
    sleep(Duration::from_millis(100)).await;
    assert!(was_available());
}
