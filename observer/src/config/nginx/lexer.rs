//! The words of nginx's configuration, by the rules of its own reader (`ngx_conf_read_token`).

/// What the next bytes are.
#[derive(Debug, PartialEq, Eq)]
pub enum Token {
    /// A name or an argument, its quotes and escapes taken off.
    Word(String),
    /// `{`
    Open,
    /// `}`
    Close,
    /// `;`
    End,
}

/// Why a text is no configuration of nginx.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mistake {
    #[error("a quote is not closed")]
    OpenQuote,
    #[error("something follows a closing quote at once")]
    AfterQuote,
    #[error("a directive is not ended by \";\"")]
    OpenDirective,
    #[error("a block is not closed by \"}}\"")]
    OpenBlock,
    #[error("an unexpected \"}}\"")]
    StrayClose,
    #[error("an unexpected \";\" or \"{{\"")]
    Nameless,
    #[error("blocks or includes are nested too deep")]
    TooDeep,
}

/// Reads a text from its start to its end.
pub struct Lexer<'a> {
    bytes: &'a [u8],
    at: usize,
    line: u64,
}

impl<'a> Lexer<'a> {
    pub fn new(text: &'a str) -> Self {
        Self { bytes: text.as_bytes(), at: 0, line: 1 }
    }

    /// The next token and the line on which it begins; none at the end.
    pub fn next(&mut self) -> Result<Option<(u64, Token)>, (u64, Mistake)> {
        self.skip_blanks();
        let line = self.line;
        let Some(first) = self.peek() else { return Ok(None) };
        let token = match first {
            b';' => self.single(Token::End),
            b'{' => self.single(Token::Open),
            b'}' => self.single(Token::Close),
            b'"' | b'\'' => Token::Word(self.quoted(first).map_err(|mistake| (line, mistake))?),
            _ => Token::Word(self.word()),
        };
        Ok(Some((line, token)))
    }

    /// Passes over Lua code up to and with the brace that closes its block, whose opening one was read.
    pub fn skip_lua(&mut self) -> Result<(), (u64, Mistake)> {
        let line = self.line;
        let mut depth = 1;
        while let Some(byte) = self.take() {
            match byte {
                b'{' => depth += 1,
                b'}' => depth -= 1,
                b'"' | b'\'' => self.skip_lua_string(byte),
                b'-' if self.peek() == Some(b'-') => self.skip_lua_comment(),
                b'[' => self.skip_long_bracket(),
                _ => {}
            }
            if depth == 0 {
                return Ok(());
            }
        }
        Err((line, Mistake::OpenBlock))
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn take(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        self.line += u64::from(byte == b'\n');
        Some(byte)
    }

    fn single(&mut self, token: Token) -> Token {
        self.at += 1;
        token
    }

    fn skip_blanks(&mut self) {
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' => {
                    self.take();
                }
                b'#' => self.skip_line(),
                _ => return,
            }
        }
    }

    fn skip_line(&mut self) {
        while self.peek().is_some_and(|byte| byte != b'\n') {
            self.at += 1;
        }
    }

    fn word(&mut self) -> String {
        let start = self.at;
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' | b';' | b'{' => break,
                b'\\' => {
                    self.take();
                    self.take();
                }
                // `${` begins a variable, not a block.
                b'$' if self.bytes.get(self.at + 1) == Some(&b'{') => self.at += 2,
                _ => self.at += 1,
            }
        }
        unescaped(&self.bytes[start..self.at])
    }

    fn quoted(&mut self, quote: u8) -> Result<String, Mistake> {
        self.at += 1;
        let start = self.at;
        loop {
            match self.take().ok_or(Mistake::OpenQuote)? {
                b'\\' => {
                    self.take();
                }
                byte if byte == quote => break,
                _ => {}
            }
        }
        let word = unescaped(&self.bytes[start..self.at - 1]);
        match self.peek() {
            None | Some(b' ' | b'\t' | b'\r' | b'\n' | b';' | b'{' | b')') => Ok(word),
            Some(_) => Err(Mistake::AfterQuote),
        }
    }

    fn skip_lua_string(&mut self, quote: u8) {
        while let Some(byte) = self.take() {
            match byte {
                b'\\' => {
                    self.take();
                }
                byte if byte == quote => return,
                _ => {}
            }
        }
    }

    fn skip_lua_comment(&mut self) {
        self.at += 1;
        if self.peek() == Some(b'[') {
            self.at += 1;
            let before = self.at;
            self.skip_long_bracket();
            if self.at > before {
                return;
            }
        }
        self.skip_line();
    }

    /// Passes over `[=[ ... ]=]` whose first bracket was read; does nothing where it is none.
    fn skip_long_bracket(&mut self) {
        let rest = &self.bytes[self.at..];
        let level = rest.iter().take_while(|&&byte| byte == b'=').count();
        if rest.get(level) != Some(&b'[') {
            return;
        }
        let close = [b"]", "=".repeat(level).as_bytes(), b"]"].concat();
        while self.at < self.bytes.len() && !self.bytes[self.at..].starts_with(&close) {
            self.take();
        }
        self.at = (self.at + close.len()).min(self.bytes.len());
    }
}

/// nginx takes the backslash off quotes, backslashes and the three control characters, and leaves it everywhere else.
fn unescaped(raw: &[u8]) -> String {
    let mut out = Vec::with_capacity(raw.len());
    let mut at = 0;
    while let Some(&byte) = raw.get(at) {
        let escaped = match (byte, raw.get(at + 1)) {
            (b'\\', Some(&quote @ (b'"' | b'\'' | b'\\'))) => Some(quote),
            (b'\\', Some(b't')) => Some(b'\t'),
            (b'\\', Some(b'r')) => Some(b'\r'),
            (b'\\', Some(b'n')) => Some(b'\n'),
            _ => None,
        };
        out.push(escaped.unwrap_or(byte));
        at += if escaped.is_some() { 2 } else { 1 };
    }
    // Cuts fall on ASCII bytes, so what was text still is.
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Result<Vec<Token>, (u64, Mistake)> {
        let mut lexer = Lexer::new(text);
        let mut all = Vec::new();
        while let Some((_, token)) = lexer.next()? {
            all.push(token);
        }
        Ok(all)
    }

    fn word(text: &str) -> Token {
        Token::Word(text.to_owned())
    }

    #[test]
    fn words_end_at_blanks_semicolons_and_braces() {
        let expected = [word("a"), word("b#c"), Token::Open, word("d}"), Token::End, Token::Close];
        assert_eq!(tokens("a\tb#c{ # not {this}\n d};}").unwrap(), expected);
    }

    #[test]
    fn quotes_keep_what_is_in_them() {
        let expected = [word("a b;{}"), word("it's"), word(""), word("say \"x\""), Token::End];
        assert_eq!(tokens(r#""a b;{}" "it's" '' "say \"x\"";"#).unwrap(), expected);
        assert_eq!(tokens("\"a\nb"), Err((1, Mistake::OpenQuote)));
        assert_eq!(tokens("x\n 'a'b;"), Err((2, Mistake::AfterQuote)));
    }

    #[test]
    fn a_backslash_stays_before_what_it_does_not_escape() {
        assert_eq!(tokens(r"\.php$ a\;b \\ x\ny").unwrap(), [word(r"\.php$"), word(r"a\;b"), word("\\"), word("x\ny")]);
    }

    #[test]
    fn a_variable_in_braces_is_no_block() {
        assert_eq!(tokens("http://${a}b{").unwrap(), [word("http://${a}b"), Token::Open]);
    }

    #[test]
    fn tokens_know_their_lines() {
        let mut lexer = Lexer::new("a\n\n\"x\ny\" b");
        let lines: Vec<u64> = std::iter::from_fn(|| lexer.next().unwrap()).map(|(line, _)| line).collect();
        assert_eq!(lines, [1, 3, 4]);
    }

    #[test]
    fn lua_is_passed_over_with_its_own_strings_and_comments() {
        for lua in [
            "}",
            "local t = {a = {}} }",
            "ngx.say('}') ngx.say(\"}\\\"}\") }",
            "-- it's }\n }",
            "--[[ } \n ]] x = [==[ } ]] ]==] t[1] = 2 }",
        ] {
            let text = format!("{lua} rest");
            let mut lexer = Lexer::new(&text);
            lexer.skip_lua().unwrap();
            assert_eq!(lexer.next().unwrap().unwrap().1, word("rest"), "{lua}");
        }
        assert_eq!(Lexer::new("{ }").skip_lua(), Err((1, Mistake::OpenBlock)));
    }
}
