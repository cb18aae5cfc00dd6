use clap::Parser as _;
use serde_json::json;

use super::*;

/// A data directory and a configuration file in it.
struct Ground(tempfile::TempDir);

impl Ground {
    fn new(config: &str) -> Self {
        let ground = Self(tempfile::tempdir().unwrap());
        std::fs::write(ground.path("x.conf"), config).unwrap();
        ground
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// What is checked, and the problems.
    async fn one_process(&self) -> (Subject, Vec<String>) {
        let (config, data) = (self.path("x.conf"), self.path("data"));
        let mut args = vec!["commissaire".into()];
        for (option, path) in
            [("-c", config), ("--data-dir", data), ("--run-dir", self.path("run"))]
        {
            args.extend([option.into(), path.into_os_string()]);
        }
        let mut report = Report::default();
        let installation = one_process(&Args::parse_from(args), &mut report).unwrap();
        check(&installation, &mut report).await;
        (installation, report.problems())
    }

    async fn daemons(&self) -> (Subject, Vec<String>) {
        let mut report = Report::default();
        let installation = daemons(&daemon_files(self.0.path()), &mut report).await;
        check(&installation, &mut report).await;
        (installation, report.problems())
    }

    fn write(&self, name: &str, fields: &serde_json::Value) {
        std::fs::write(self.path(name), fields.to_string()).unwrap();
    }
}

#[tokio::test]
async fn a_valid_configuration_has_no_problems_and_leads_to_the_other_checks() {
    let ground = Ground::new(r#"{"listen-port": 8001}"#);
    let (installation, problems) = ground.one_process().await;
    assert_eq!(problems, [""; 0]);
    assert_eq!(installation.form, Form::OneProcess);
    assert!(installation.data_dirs.contains(&ground.path("data")));
    assert!(installation.run_dirs.contains(&ground.path("run")));
    assert_eq!(installation.key_dirs, installation.data_dirs);
}

#[tokio::test]
async fn an_invalid_option_is_named_as_a_start_does() {
    for (config, says) in [
        (r#"{"listen-prot": 1}"#, "unknown member `listen_prot`: did you mean `listen_port`?"),
        (r#"{"watcher": {"interval": 0}}"#, "a number of seconds"),
        ("{", "is not a JSON object"),
        (
            r#"{"listen-interface": "::", "insecure-http": false, "tls-clientverifyfile": 1}"#,
            "invalid type",
        ),
    ] {
        let ground = Ground::new(config);
        let (installation, problems) = ground.one_process().await;
        let [problem] = problems.as_slice() else { panic!("{problems:?}") };
        assert!(problem.starts_with("Error: a start with this configuration fails: "), "{problem}");
        assert!(problem.contains(says) && problem.contains("; correct "), "{problem}");
        assert!(installation.storage.is_some(), "the other checks go on");
    }
}

#[tokio::test]
async fn files_that_the_configuration_names_have_to_exist() {
    let ground = Ground::new("{}");
    let missing = |name: &str| ground.path(name).to_string_lossy().into_owned();
    ground.write(
        "x.conf",
        &json!({
            "tls-pemfile": missing("server.pem"),
            "tls-clientverifyfile": missing("x.conf"),
            "audit-log": missing("no/audit.log"),
            "custodia-socket-path": missing("custodia.sock"),
            "clusterexec": {"webhook-secret-file": missing("secret"), "playbook-path": missing("")},
            "authentication-plugins": [{"name": "httpbasicauth", "filepath": missing("users.json")}],
        }),
    );
    let (_, problems) = ground.one_process().await;
    let named = |option: &str| {
        let option = format!("(`{option}`)");
        problems.iter().filter(|problem| problem.contains(&option)).count()
    };
    for option in [
        "tls-pemfile",
        "audit-log",
        "custodia-socket-path",
        "webhook-secret-file",
        "filepath of httpbasicauth",
    ] {
        assert_eq!(named(option), 1, "{option}: {problems:?}");
    }
    assert_eq!((named("tls-clientverifyfile"), named("playbook-path")), (0, 0));
    let plugins = problems.last().unwrap();
    assert!(plugins.contains("cannot set up `authentication-plugins`"), "{plugins}");
}

#[tokio::test]
async fn a_key_that_does_not_belong_to_the_certificate_is_found_before_a_start() {
    let ground = Ground::new("{}");
    let pem = ground.path("tls.pem");
    ground.write("x.conf", &json!({"tls-pemfile": pem}));
    let names = || vec!["example.com".to_owned()];
    let own = rcgen::generate_simple_self_signed(names()).unwrap();
    let other = rcgen::generate_simple_self_signed(names()).unwrap();
    let write = |key: String| std::fs::write(&pem, format!("{key}{}", own.cert.pem())).unwrap();
    write(own.signing_key.serialize_pem());
    assert_eq!(ground.one_process().await.1, [""; 0]);
    write(other.signing_key.serialize_pem());
    let (_, problems) = ground.one_process().await;
    assert!(problems[0].starts_with("Error: TLS cannot be served: "), "{problems:?}");
}

#[tokio::test]
async fn an_installation_without_users_and_an_unknown_plugin_are_problems() {
    let ground = Ground::new("{}");
    let users = ground.path("users.json");
    let plugin = json!({"name": "httpbasicauth", "filepath": users});
    ground.write("x.conf", &json!({"authentication-plugins": [plugin]}));
    ground.write("users.json", &json!({}));
    let (_, problems) = ground.one_process().await;
    assert_eq!(problems, ["Warning: there is no user who could log in; commissaire user add NAME"]);
    ground.write("x.conf", &json!({"authentication-plugins": [{"name": "ldap"}]}));
    let (_, problems) = ground.one_process().await;
    assert!(problems[0].contains("there is no authentication plugin \"ldap\""), "{problems:?}");
}

#[tokio::test]
async fn each_daemon_with_a_configuration_file_is_checked() {
    let ground = Ground::new("{}");
    let data = ground.path("data");
    ground.write("storage.conf", &json!({"data-dir": data, "compation": "off"}));
    ground.write("watcher.conf", &json!({"data-dir": data, "bus-uri": "amqp://other.example.com"}));
    ground.write("commissaire.conf", &json!({"data-dir": data}));
    ground.write("containermgr.conf", &json!({"data-dir": data, "run-dir": ground.path("run")}));
    let (installation, problems) = ground.daemons().await;
    assert_eq!(installation.form, Form::Daemons);
    let brokers: Vec<_> = installation.brokers.iter().map(|(daemon, _)| *daemon).collect();
    assert_eq!(brokers, [Daemon::Server, Daemon::Containermgr]);
    assert!(installation.reaches_managers && installation.storage.is_none());
    assert!(installation.key_dirs.contains(&data), "the watcher reaches hosts, if not the broker");
    let [storage, watcher, gateway] = problems.as_slice() else { panic!("{problems:?}") };
    assert!(storage.contains("did you mean `compaction`?"), "{storage}");
    assert!(watcher.contains("a broker on another machine needs `amqps://`"), "{watcher}");
    assert!(gateway.starts_with("Warning: no authentication plugin is configured"), "{gateway}");

    ground.write("storage.conf", &json!({"data-dir": data}));
    ground.write("watcher.conf", &json!({"data-dir": data, "run-dir": ground.path("run")}));
    let (installation, _) = ground.daemons().await;
    let storage = installation.storage.unwrap();
    assert_eq!(storage.secret_key_file, data.join("secret.key"));
    assert!(installation.key_dirs.contains(&data));
}
