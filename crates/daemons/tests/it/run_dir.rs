//! The run directory of a daemon that reaches hosts belongs to its user.

use crate::Store;

#[tokio::test]
async fn run_directory_that_is_a_link_ends_the_start() {
    let store = Store::start().await;
    let [target, link] = ["elsewhere", "r"].map(|name| store.folder.path().join(name));
    std::fs::create_dir(&target).unwrap();
    std::os::unix::fs::symlink(&target, &link).unwrap();
    let error = store.watch(false).await.unwrap_err();
    for part in ["cannot use the run directory", "/r ", "it is a symbolic link"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert_eq!(std::fs::read_dir(&target).unwrap().count(), 0);
    std::fs::remove_file(&link).unwrap();
    store.watch(false).await.unwrap();
}
