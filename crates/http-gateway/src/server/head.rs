//! A strict look at the bytes of requests, before they are parsed.
//!
//! The parser is as lenient as RFC 9112 lets it be: it takes a bare LF for the end of a line, a
//! `Content-Length` beside a `Transfer-Encoding`, the same length twice. A proxy in front may see another
//! end of the request there, and what follows is then a second request that nobody sent. Nobody who
//! means well sends these either: they are refused.

/// What a connection's next byte belongs to.
#[derive(Debug)]
enum Part {
    /// The head of a request, at the beginning of a line.
    Head,
    /// A body, of which so many bytes are to come.
    Body(u64),
    /// A chunked body. It is the last of its connection: where it ends is for the parser to say.
    Chunked,
    /// What came was refused, and nothing else is looked at.
    Refused,
}

/// Follows the requests of one connection.
#[derive(Debug)]
pub(super) struct Heads {
    part: Part,
    /// The bytes of a line of which the end has not come yet.
    line: Vec<u8>,
    /// Whether the request line has been seen.
    begun: bool,
    length: Option<u64>,
    chunked: bool,
}

/// A line that is refused.
#[derive(Debug, PartialEq)]
struct Refused;

impl Heads {
    pub(super) fn new() -> Self {
        Self { part: Part::Head, line: Vec::new(), begun: false, length: None, chunked: false }
    }

    /// Whether a head has begun that has not ended yet.
    pub(super) fn inside(&self) -> bool {
        matches!(self.part, Part::Head) && (self.begun || !self.line.is_empty())
    }

    /// Whether the client may still be sending what nobody is going to read.
    pub(super) fn unfinished(&self) -> bool {
        !matches!(self.part, Part::Head)
    }

    /// Looks at what came. Says how much of it is good, when not all is.
    pub(super) fn look(&mut self, mut bytes: &[u8]) -> Option<usize> {
        let all = bytes.len();
        while !bytes.is_empty() {
            match self.part {
                Part::Body(left) => {
                    let here = usize::try_from(left).map_or(bytes.len(), |n| n.min(bytes.len()));
                    bytes = &bytes[here..];
                    let left = left - here as u64;
                    self.part = if left == 0 { Part::Head } else { Part::Body(left) };
                }
                Part::Head => {
                    let end = bytes.iter().position(|byte| *byte == b'\n');
                    let (line, rest) = bytes.split_at(end.map_or(bytes.len(), |end| end + 1));
                    self.line.extend_from_slice(line);
                    if end.is_some() && self.end_of_line().is_err() {
                        self.part = Part::Refused;
                        return Some(all - bytes.len());
                    }
                    bytes = rest;
                }
                Part::Chunked => return None,
                Part::Refused => return Some(all - bytes.len()),
            }
        }
        None
    }

    fn end_of_line(&mut self) -> Result<(), Refused> {
        let line = std::mem::take(&mut self.line);
        let line = line.strip_suffix(b"\r\n").ok_or(Refused)?;
        if line.contains(&b'\r') {
            return Err(Refused);
        }
        match (line, self.begun) {
            // Empty lines in front of a request are allowed.
            ([], false) => {}
            ([], true) => self.end_of_head()?,
            (_, false) => self.begun = true,
            (line, true) => self.field(line)?,
        }
        Ok(())
    }

    fn field(&mut self, line: &[u8]) -> Result<(), Refused> {
        // A folded line.
        if line.starts_with(b" ") || line.starts_with(b"\t") {
            return Err(Refused);
        }
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (name, value) = line.split_at(colon);
        if name.eq_ignore_ascii_case(b"content-length") {
            let value = value.strip_prefix(b":").ok_or(Refused)?;
            let value = std::str::from_utf8(value).map_err(|_| Refused)?.trim();
            let digits = value.bytes().all(|byte| byte.is_ascii_digit());
            let length = value.parse().ok().filter(|_| digits).ok_or(Refused)?;
            if self.length.replace(length).is_some() {
                return Err(Refused);
            }
        }
        self.chunked |= name.eq_ignore_ascii_case(b"transfer-encoding");
        Ok(())
    }

    fn end_of_head(&mut self) -> Result<(), Refused> {
        self.begun = false;
        self.part = match (self.length.take(), std::mem::take(&mut self.chunked)) {
            (Some(_), true) => return Err(Refused),
            (None, true) => Part::Chunked,
            (None | Some(0), false) => Part::Head,
            (Some(length), false) => Part::Body(length),
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refused(text: &str) -> bool {
        Heads::new().look(text.as_bytes()).is_some()
    }

    #[test]
    fn requests_of_those_who_mean_well_pass() {
        for text in [
            "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            "\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
            "PUT / HTTP/1.1\r\nContent-Length: 3\r\n\r\n\n\n\nGET / HTTP/1.1\r\n\r\n",
            "PUT / HTTP/1.1\r\nContent-Length: 0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            "PUT / HTTP/1.1\r\nCONTENT-LENGTH:\t 10 \r\n\r\n0123456789GET / HTTP/1.1\r\n\r\n",
            "PUT / HTTP/1.1\r\nContent-Length: 18446744073709551615\r\n\r\n\n",
            "PUT / HTTP/1.1\r\nContent-Length: 1\r\n\r\nxPUT / HTTP/1.1\r\nContent-Length: 1\r\n\r\n\n",
            "PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\n\n",
            "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\n\n",
            "PUT / HTTP/1.1\r\nTransfer-Encoding: gzip\r\nX: y\r\n\r\n\n\n",
            "GET / HTTP/1.1\r\nContent-Lengths: x\r\nX-Transfer-Encoding: y\r\nno colon\r\n\r\n",
        ] {
            assert!(!refused(text), "{text:?}");
        }
    }

    #[test]
    fn what_has_two_ends_is_refused() {
        for text in [
            "GET / HTTP/1.1\nHost: x\n\n",
            "GET / HTTP/1.1\r\nHost: x\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\n\n",
            "GET / HTTP/1.1\r\nHost: x\rX: y\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n",
            "PUT / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "PUT / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            "PUT / HTTP/1.1\r\nContent-Length: +1\r\n\r\n",
            "PUT / HTTP/1.1\r\nContent-Length\r\n\r\n",
            "PUT / HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\n",
            "PUT / HTTP/1.1\r\nContent-Length:\r\n\r\n",
            "PUT / HTTP/1.1\r\nContent-Length: 1 2\r\n\r\n",
            "PUT / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
            "PUT / HTTP/1.1\r\nContent-Length: 0x1\r\n\r\n",
            "PUT / HTTP/1.1\r\nContent-Length: 18446744073709551616\r\n\r\n",
            "PUT / HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
            "PUT / HTTP/1.1\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n",
            "PUT / HTTP/1.1\r\nX: y\r\n\tfolded\r\n\r\n",
            "\nGET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\r\n\r\n",
            "PUT / HTTP/1.1\r\nContent-Length: 2\r\n\r\nxyGET /\n",
            "PUT / HTTP/1.1\r\nContent-Length: 0\r\n\r\nGET /\n",
            "PUT / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "PUT / HTTP/1.1\r\nTransfer-Encoding: x\r\ncontent-length: 1\r\n\r\n",
            "PUT / HTTP/1.1\r\nContent-Length: 1\r\n\r\nxGET / HTTP/1.1\n\n",
        ] {
            assert!(refused(text), "{text:?}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_in_a_length_alone() {
        assert!(Heads::new().look(b"GET / HTTP/1.1\r\nContent-Length: \xff\r\n\r\n").is_some());
        assert!(Heads::new().look(b"GET / HTTP/1.1\r\nX: \xff\r\n\r\n").is_none());
    }

    #[test]
    fn what_is_good_is_told_and_what_follows_is_not_looked_at() {
        let mut heads = Heads::new();
        assert_eq!(heads.look(b"GET / HTTP/1.1\r\nA: b\nC: d\r\n"), Some(16));
        assert_eq!(heads.look(b"GET / HTTP/1.1\r\n\r\n"), Some(0));
        let mut heads = Heads::new();
        assert_eq!(heads.look(b"PUT / HTTP/1.1\r\nContent-Length: 4\r\n\r\n\n\n"), None);
        assert_eq!(heads.look(b"\n\nGET / HTTP/1.1\r\nA: b\n\r\n"), Some(18));
    }

    #[test]
    fn where_a_connection_stands_is_known() {
        const LENGTH: &str = "PUT / HTTP/1.1\r\nContent-Length: 3\r\n\r\n";
        for (text, inside, unfinished) in [
            ("", false, false),
            ("\r\n", false, false),
            ("G", true, false),
            ("GET / HTTP/1.1\r\n", true, false),
            ("GET / HTTP/1.1\r\nA: b\r\n\r", true, false),
            ("GET / HTTP/1.1\r\n\r\n", false, false),
            ("GET / HTTP/1.1\r\n\r\nGET", true, false),
            ("PUT / HTTP/1.1\r\nContent-Length: 0\r\n\r\n", false, false),
            (LENGTH, false, true),
            (&format!("{LENGTH}xy"), false, true),
            (&format!("{LENGTH}xyz"), false, false),
            (&format!("{LENGTH}xyzG"), true, false),
            ("PUT / HTTP/1.1\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n", false, true),
            ("GET / HTTP/1.1\n", false, true),
        ] {
            let mut heads = Heads::new();
            heads.look(text.as_bytes());
            assert_eq!((heads.inside(), heads.unfinished()), (inside, unfinished), "{text:?}");
            // The same byte by byte.
            let mut heads = Heads::new();
            for byte in text.bytes() {
                heads.look(&[byte]);
            }
            assert_eq!((heads.inside(), heads.unfinished()), (inside, unfinished), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn however_it_is_cut_it_is_the_same(
            text in "((GET / HTTP/1.1|A: b|Content-Length: [0-3]|transfer-encoding: x|)\r\n|\n|\r|xy| ){0,24}",
            at: prop::sample::Index,
        ) {
            let bytes = text.as_bytes();
            let at = at.index(bytes.len() + 1);
            let mut heads = Heads::new();
            let first = heads.look(&bytes[..at]).is_some();
            prop_assert_eq!(first || heads.look(&bytes[at..]).is_some(), refused(&text));
        }
    }
}
