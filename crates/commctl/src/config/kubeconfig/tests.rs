use super::*;

/// A kubeconfig whose current context has this user.
fn kubeconfig(user: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: here\n\
         contexts:\n- name: there\n  context: {{cluster: k, user: other}}\n\
         - name: here\n  context:\n    cluster: k\n    user: me\n\
         clusters:\n- name: k\n  cluster:\n    server: https://192.0.2.1:6443\n\
         \x20   certificate-authority-data: Q0E=\n    extensions:\n\
         \x20   - name: client.authentication.k8s.io/exec\n      extension: {{audience: fleet}}\n\
         users:\n- name: other\n  user: {{token: wrong}}\n- name: me\n  user: {user}\n"
    )
}

fn read_text(text: &str) -> Result<Credentials, String> {
    let of = |parsed| of(parsed, Path::new("/k/config"), Path::new("/cache"));
    file::parse(text).and_then(of).map_err(|error| error.to_string())
}

fn read_user(user: &str) -> Result<Credentials, String> {
    read_text(&kubeconfig(user))
}

fn refusal(user: &str) -> String {
    read_user(user).unwrap_err()
}

fn plugin(exec: &str) -> Result<Plugin, String> {
    match read_user(&format!("{{exec: {exec}}}"))?.login {
        Login::Plugin(plugin) => Ok(*plugin),
        other => panic!("{other:?}"),
    }
}

#[test]
fn tokens() {
    let credentials = read_user("{token: 12345}").unwrap();
    assert!(matches!(&credentials.login, Login::Token(token) if token.expose_secret() == "12345"));
    assert!(credentials.in_clear && credentials.identity.is_none());
    let credentials = read_user("{token: old, tokenFile: token}").unwrap();
    assert!(matches!(&credentials.login, Login::TokenFile(path) if path == Path::new("/k/token")));
}

#[test]
fn basic_and_a_certificate_beside_it() {
    let user =
        "{username: me, password: 'a: b', client-certificate: ../c.pem, client-key-data: S0VZ}";
    let credentials = read_user(user).unwrap();
    let Login::Password(Password { username, password }) = credentials.login else { panic!() };
    assert_eq!((username.as_str(), password.expose_secret()), ("me", "a: b"));
    let Some(Identity { certificate: Pem::File(file), key: Pem::Text(key) }) = credentials.identity
    else {
        panic!()
    };
    assert_eq!((file, key.expose_secret()), (PathBuf::from("/k/../c.pem"), "KEY"));
}

#[test]
fn a_certificate_alone() {
    let credentials = read_user(
        "{client-certificate-data: Q0VS\n      VA==, client-certificate: no, client-key: /k.pem}",
    )
    .unwrap();
    assert!(matches!(credentials.login, Login::Certificate) && !credentials.in_clear);
    let identity = credentials.identity.unwrap();
    assert!(matches!(&identity.certificate, Pem::Text(text) if text.expose_secret() == "CERT"));
    assert!(refusal("{client-key: /k.pem}").contains("without client-certificate"));
    assert!(refusal("{client-certificate: /c.pem}").contains("without client-key"));
    assert!(refusal("{client-key-data: '?'}").ends_with("client-key-data is not base64 of PEM"));
}

#[test]
fn a_plugin() {
    let plugin = plugin(
        "{apiVersion: client.authentication.k8s.io/v1, command: ./bin/login, args: [a, 'b c'],
          env: [{name: A, value: '1'}], interactiveMode: Never, provideClusterInfo: true,
          installHint: get it}",
    )
    .unwrap();
    assert_eq!(plugin.program, Path::new("/k/./bin/login"));
    assert_eq!(plugin.arguments, ["a", "b c"]);
    assert_eq!(plugin.environment, [("A".to_owned(), "1".to_owned())]);
    assert_eq!(plugin.input, plugin::Input::Never);
    assert_eq!(plugin.install_hint.as_deref(), Some("get it"));
    assert_eq!(
        plugin.cluster.unwrap(),
        json!({"server": "https://192.0.2.1:6443", "certificate-authority-data": "Q0E=",
               "config": {"audience": "fleet"}})
    );
}

#[test]
fn a_plugin_by_its_name_alone_and_one_of_another_time() {
    let beta = "client.authentication.k8s.io/v1beta1";
    let known = plugin(&format!("{{apiVersion: {beta}, command: login}}")).unwrap();
    assert_eq!((known.api_version, known.program), (beta, "login".into()));
    assert_eq!(known.cluster, None);
    let alpha = "{apiVersion: client.authentication.k8s.io/v1alpha1, command: login}";
    assert_eq!(
        plugin(alpha).unwrap_err(),
        "user \"me\": exec has the apiVersion \"client.authentication.k8s.io/v1alpha1\"; known are \
         client.authentication.k8s.io/v1 and client.authentication.k8s.io/v1beta1"
    );
    assert!(plugin(&format!("{{apiVersion: {beta}}}")).unwrap_err().contains("no command"));
}

#[test]
fn what_nobody_can_log_in_with() {
    assert!(refusal("{}").contains("nothing to log in with"));
    assert!(refusal("{token: ''}").contains("nothing to log in with"));
    assert!(refusal("{username: me}").contains("without a password"));
    assert!(refusal("{token: t, as: root}").contains("no impersonation"));
    assert!(refusal("{auth-provider: {name: gcp}}").contains("gave up for exec"));
}

#[test]
fn what_is_no_kubeconfig_is_told_without_its_secrets() {
    for bad in ["token: secret: x", "- secret", "users: secret", "{secret"] {
        let error = read_text(bad).unwrap_err();
        assert!(error.starts_with("it is not a kubeconfig"), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }
    assert!(refusal("{token: [secret]}").contains("it is not a kubeconfig: line "));
    assert!(read_text("users: []").unwrap_err().contains("kubectl config use-context"));
    assert_eq!(
        read_text("current-context: c").unwrap_err(),
        "it has no context \"c\", which current-context names"
    );
    let text = "current-context: c\ncontexts:\n- {name: c, context: {user: u}}\nusers: null\n";
    assert_eq!(
        read_text(text).unwrap_err(),
        "it has no user \"u\", which the current context names"
    );
}

#[test]
fn json_is_yaml() {
    let text = r#"{"current-context": "c", "contexts": [{"name": "c", "context": {"user": "u"}}],
                   "users": [{"name": "u", "user": {"token": "t"}}]}"#;
    assert!(matches!(read_text(text).unwrap().login, Login::Token(_)));
}
