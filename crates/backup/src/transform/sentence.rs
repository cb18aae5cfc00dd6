//! Addresses in sentences, commands and URLs: as whole words only.

use std::net::Ipv6Addr;

use super::address_map::{AddressMap, Mapped};

/// Which words of a text may be a name of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Words {
    /// All.
    All,
    /// Those with a dot, and IP addresses: in a command a word such as `web` is usually something else.
    Addresses,
}

/// Replaces the addresses in a text; returns the new text, and the sources of the mappings. `None` if nothing is mapped.
pub(super) fn map(text: &str, words: Words, map: &AddressMap) -> Option<(String, Vec<String>)> {
    let output = String::with_capacity(text.len());
    let mut replacer = Replacer { words, map, output, sources: Vec::new() };
    let mut rest = text;
    while let Some(start) = rest.find(is_part) {
        let (before, from) = rest.split_at(start);
        replacer.output.push_str(before);
        let (run, after) = from.split_at(from.find(|c| !is_part(c)).unwrap_or(from.len()));
        rest = replacer.replace(run, after);
    }
    replacer.output.push_str(rest);
    let Replacer { output, sources, .. } = replacer;
    (!sources.is_empty()).then_some((output, sources))
}

/// Whether a character may be a part of an address, or makes the text beside it no address of its own.
fn is_part(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | ':')
}

struct Replacer<'a> {
    words: Words,
    map: &'a AddressMap,
    output: String,
    sources: Vec<String>,
}

impl Replacer<'_> {
    /// Appends a run of such characters. Returns the text after it that is still to be appended.
    fn replace<'t>(&mut self, run: &str, after: &'t str) -> &'t str {
        if let Some((new, tail)) = self.lookup(run) {
            return self.append(&new, tail, after);
        }
        if is_ipv6(run) || !run.contains(':') {
            self.output.push_str(run);
            return after;
        }
        // `10.0.0.1:8080`, `host:10.0.0.1`
        let mut pieces = run.split(':').peekable();
        while let Some(piece) = pieces.next() {
            match self.lookup(piece) {
                Some((new, tail)) if new.contains(':') && pieces.peek().is_some() => {
                    self.push_bracketed(&new, tail);
                }
                Some((new, tail)) => {
                    self.output.push_str(&new);
                    self.output.push_str(tail);
                }
                None => self.output.push_str(piece),
            }
            if pieces.peek().is_some() {
                self.output.push(':');
            }
        }
        after
    }

    /// Appends a new address. In a URL and before a port, an IPv6 address is in brackets, and no other one is.
    fn append<'t>(&mut self, new: &str, tail: &str, after: &'t str) -> &'t str {
        let is_v6 = new.contains(':');
        if is_v6 && self.output.ends_with("//") {
            self.push_bracketed(new, tail);
            return after;
        }
        let bracket = if tail.is_empty() { after.strip_prefix(']') } else { None };
        let has_port = bracket.is_some_and(|after| after.starts_with(':'));
        if let Some(after) = bracket
            && !is_v6
            && (self.output.ends_with("//[") || has_port && self.output.ends_with('['))
        {
            self.output.pop();
            self.output.push_str(new);
            return after;
        }
        self.output.push_str(new);
        self.output.push_str(tail);
        after
    }

    fn push_bracketed(&mut self, address: &str, tail: &str) {
        self.output.extend(["[", address, "]", tail]);
    }

    /// What takes the place of a word, and the punctuation at its end.
    fn lookup<'w>(&mut self, word: &'w str) -> Option<(String, &'w str)> {
        let mut end = word.len();
        loop {
            let candidate = &word[..end];
            if self.words == Words::All || candidate.contains(['.', ':']) {
                if let Some(Mapped { new, source }) = self.map.map(candidate) {
                    self.sources.push(source);
                    return Some((new, &word[end..]));
                }
                if candidate.parse::<Ipv6Addr>().is_ok() {
                    return None;
                }
            }
            if !candidate.ends_with(['.', ':', '-', '_']) {
                return None;
            }
            end -= 1;
        }
    }
}

/// Whether a run is an IPv6 address, with or without punctuation after it.
fn is_ipv6(run: &str) -> bool {
    let parses = |text: &str| text.parse::<Ipv6Addr>().is_ok();
    parses(run) || run.strip_suffix(['.', ':']).is_some_and(parses)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapped(text: &str, words: Words) -> String {
        let mappings = [
            "10.0.0.1=10.1.0.1",
            "192.0.2.0/24=198.51.100.0/24",
            "2001:db8::1=2001:db8::2",
            "web1.example.com=web2.example.com",
            "web=db",
        ];
        let mappings = mappings.map(|text| text.parse().unwrap());
        let map_of = AddressMap::new(mappings).unwrap();
        map(text, words, &map_of).map_or_else(|| text.to_owned(), |(text, _)| text)
    }

    #[test]
    fn addresses_are_replaced_as_whole_words() {
        for (text, expected) in [
            ("10.0.0.1", "10.1.0.1"),
            ("10.0.0.12 110.0.0.1 10.0.0.1.5 x10.0.0.1", ""),
            ("a-10.0.0.1 10.0.0.1_a 1.10.0.0.1 \u{e4}10.0.0.1", ""),
            ("host 10.0.0.1: no route.", "host 10.1.0.1: no route."),
            ("It is 10.0.0.1.", "It is 10.1.0.1."),
            ("(10.0.0.1), \"10.0.0.1\", ann@10.0.0.1", "(10.1.0.1), \"10.1.0.1\", ann@10.1.0.1"),
            ("10.0.0.1:8080 http://10.0.0.1/x", "10.1.0.1:8080 http://10.1.0.1/x"),
            ("host:10.0.0.1", "host:10.1.0.1"),
            ("192.0.2.7/24 and 192.0.2.0/24", "198.51.100.7/24 and 198.51.100.0/24"),
            ("[2001:db8::1]:443", "[2001:db8::2]:443"),
            ("host 2001:db8::1: it is down", "host 2001:db8::2: it is down"),
            ("2001:db8::1:5 2001:db8::11", ""),
            ("web1.example.com is away", "web2.example.com is away"),
            ("xweb1.example.com web1.example.com.org", ""),
            ("", ""),
        ] {
            let expected = if expected.is_empty() { text } else { expected };
            assert_eq!(mapped(text, Words::All), expected);
        }
    }

    #[test]
    fn ipv6_addresses_are_in_brackets_where_a_port_or_a_path_follows() {
        let both =
            ["10.0.0.1=2001:db8::9", "2001:db8::9=10.0.0.1"].map(|text| text.parse().unwrap());
        let map_of = AddressMap::new(both).unwrap();
        for (v4, v6) in [
            ("https://10.0.0.1:6443", "https://[2001:db8::9]:6443"),
            ("http://10.0.0.1/health", "http://[2001:db8::9]/health"),
            ("10.0.0.1:8080", "[2001:db8::9]:8080"),
            ("host 10.0.0.1: down", "host 2001:db8::9: down"),
            ("of 10.0.0.1.", "of 2001:db8::9."),
        ] {
            let mapped = |text: &str| map(text, Words::Addresses, &map_of).unwrap().0;
            assert_eq!((mapped(v4).as_str(), mapped(v6).as_str()), (v6, v4));
        }
    }

    #[test]
    fn a_name_without_a_dot_is_left_in_commands() {
        assert_eq!(mapped("host web: down", Words::All), "host db: down");
        let command = "systemctl is-active web && ping 10.0.0.1";
        let expected = "systemctl is-active web && ping 10.1.0.1";
        assert_eq!(mapped(command, Words::Addresses), expected);
    }
}
