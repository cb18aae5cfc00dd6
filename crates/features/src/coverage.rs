//! Which requests and commands the scenarios have used, and which ones there are.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use serde_json::Value;

use crate::command::program;

static REQUESTED: Mutex<BTreeSet<(String, String)>> = Mutex::new(BTreeSet::new());
static RAN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Takes note of a request.
pub(crate) fn requested(method: &str, path: &str) {
    let path = path.split('?').next().unwrap().to_owned();
    REQUESTED.lock().unwrap().insert((method.to_lowercase(), path));
}

/// Takes note of a command line of `commctl`.
pub(crate) fn ran(line: &str) {
    RAN.lock().unwrap().insert(line.to_owned());
}

/// The endpoints and commands that no scenario has used.
pub(crate) fn missing() -> Vec<String> {
    let requested = REQUESTED.lock().unwrap();
    let is_requested = |method: &str, template: &str| {
        requested.iter().any(|(used, path)| used == method && matches(template, path))
    };
    let endpoints = endpoints().into_iter();
    let endpoints = endpoints.filter(|(method, path)| !is_requested(method, path));
    let endpoints = endpoints.map(|(method, path)| format!("{} {path}", method.to_uppercase()));
    let ran = RAN.lock().unwrap();
    // In a page's name a blank is a dash; options of all commands come before the command.
    let is_run = |page: &String| {
        ran.iter().any(|line| {
            let words: Vec<_> = line.split(' ').collect();
            (1..=4).any(|count| words.windows(count).any(|names| names.join("-") == *page))
        })
    };
    let commands = commands().into_iter().filter(|page| !is_run(page));
    endpoints.chain(commands.map(|page| format!("commctl {page}"))).collect()
}

/// Whether a path is one of a template, `/api/v0/host/{address}`.
fn matches(template: &str, path: &str) -> bool {
    let parts = |text: &str| text.split('/').map(str::to_owned).collect::<Vec<_>>();
    let (template, path) = (parts(template), parts(path));
    template.len() == path.len()
        && template.iter().zip(&path).all(|(part, actual)| part.starts_with('{') || part == actual)
}

/// Those of the API's document, without `HEAD`, which is `GET` without a body.
fn endpoints() -> Vec<(String, String)> {
    let document: Value = serde_json::from_str(include_str!("../../../docs/openapi.json")).unwrap();
    let paths = document["paths"].as_object().unwrap().iter();
    let all = paths.flat_map(|(path, methods)| {
        let methods = methods.as_object().unwrap().keys();
        methods.map(|method| (method.clone(), path.clone())).collect::<Vec<_>>()
    });
    all.filter(|(method, _)| method != "head").collect()
}

/// The commands of `commctl`, by the names of its man pages.
fn commands() -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let made = Command::new(program("commctl")).arg("man").arg(folder.path()).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let pages = pages(folder.path());
    let is_group = |page: &String| pages.iter().any(|other| other.starts_with(&format!("{page}-")));
    let commands = pages.iter().filter(|page| !is_group(page) && *page != "commctl");
    commands.map(|page| page.trim_start_matches("commctl-").to_owned()).collect()
}

fn pages(folder: &Path) -> BTreeSet<String> {
    let files = std::fs::read_dir(folder).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    names.filter_map(|name| name.strip_suffix(".1").map(str::to_owned)).collect()
}
