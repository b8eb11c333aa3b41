//! nginx's configuration as a tree of directives, files that it includes put in their places.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::glob;
use super::lexer::{Lexer, Mistake, Token};
use crate::config::error::{ConfigError, Problem};
use crate::config::files::Files;

/// Blocks and includes within each other; nginx itself is ended by its stack or its open files.
const DEPTH_MAX: usize = 100;

/// Files that one configuration may include.
const FILES_MAX: usize = 10_000;

type Result<T> = std::result::Result<T, ConfigError>;

/// One directive and where it stands.
#[derive(Debug)]
pub struct Directive {
    pub name: String,
    pub args: Vec<String>,
    /// What is between its braces; none where it ends with a semicolon.
    pub block: Option<Vec<Directive>>,
    pub file: Arc<str>,
    /// From 1.
    pub line: u64,
}

impl Directive {
    /// The error that names this directive's file and line.
    pub fn fail(&self, problem: Problem) -> ConfigError {
        ConfigError::Value { file: self.file.to_string(), line: self.line, key: self.name.clone(), problem }
    }

    /// The directives in its block.
    pub fn inner(&self) -> &[Self] {
        self.block.as_deref().unwrap_or_default()
    }

    /// Its first argument.
    pub fn first(&self) -> Result<&str> {
        let next = "add its argument";
        self.args.first().map(String::as_str).ok_or_else(|| self.fail(Problem::Missing { what: "argument", next }))
    }
}

/// Reads the main file and all that it includes; names of included files are relative to the main file's folder.
pub fn read(path: &Path, files: &mut Files) -> Result<Vec<Directive>> {
    let prefix = path.parent().unwrap_or(Path::new("")).to_owned();
    let mut reader = Reader { prefix, files, included: 0 };
    let text = reader.files.read_lossy(path)?;
    reader.file(path, &text, 0)
}

struct Reader<'a> {
    prefix: PathBuf,
    files: &'a mut Files,
    included: usize,
}

/// One file's text, half read.
struct Source<'a> {
    file: Arc<str>,
    lexer: Lexer<'a>,
}

impl Source<'_> {
    fn next(&mut self) -> Result<Option<(u64, Token)>> {
        self.lexer.next().map_err(|(line, mistake)| self.mistake(line, mistake))
    }

    fn mistake(&self, line: u64, mistake: Mistake) -> ConfigError {
        ConfigError::Nginx { file: self.file.to_string(), line, mistake }
    }
}

impl Reader<'_> {
    fn file(&mut self, path: &Path, text: &str, depth: usize) -> Result<Vec<Directive>> {
        let mut source = Source { file: path.display().to_string().into(), lexer: Lexer::new(text) };
        self.block(&mut source, None, depth)
    }

    /// Directives up to the end of the block that was opened on line `opened`, or of the file where it is none.
    fn block(&mut self, source: &mut Source<'_>, opened: Option<u64>, depth: usize) -> Result<Vec<Directive>> {
        let mut directives = Vec::new();
        loop {
            match (source.next()?, opened) {
                (None, None) | (Some((_, Token::Close)), Some(_)) => return Ok(directives),
                (None, Some(line)) => return Err(source.mistake(line, Mistake::OpenBlock)),
                (Some((line, Token::Close)), None) => return Err(source.mistake(line, Mistake::StrayClose)),
                (Some((line, Token::End | Token::Open)), _) => return Err(source.mistake(line, Mistake::Nameless)),
                (Some((line, Token::Word(name))), _) => {
                    let directive = self.directive(source, name, line, depth)?;
                    if directive.name == "include" {
                        directives.extend(self.include(&directive, depth)?);
                    } else {
                        directives.push(directive);
                    }
                }
            }
        }
    }

    fn directive(&mut self, source: &mut Source<'_>, name: String, line: u64, depth: usize) -> Result<Directive> {
        let mut directive = Directive { name, args: Vec::new(), block: None, file: source.file.clone(), line };
        loop {
            match source.next()? {
                Some((_, Token::Word(word))) => directive.args.push(word),
                Some((_, Token::End)) => return Ok(directive),
                Some((_, Token::Open)) if directive.name.ends_with("_by_lua_block") => {
                    source.lexer.skip_lua().map_err(|(_, mistake)| source.mistake(line, mistake))?;
                    return Ok(directive);
                }
                Some((_, Token::Open)) if depth >= DEPTH_MAX => return Err(source.mistake(line, Mistake::TooDeep)),
                Some((_, Token::Open)) => {
                    directive.block = Some(self.block(source, Some(line), depth + 1)?);
                    return Ok(directive);
                }
                Some((_, Token::Close)) | None => return Err(source.mistake(line, Mistake::OpenDirective)),
            }
        }
    }

    fn include(&mut self, directive: &Directive, depth: usize) -> Result<Vec<Directive>> {
        let name = directive.first()?;
        let path = self.prefix.join(name);
        let paths = if glob::is_pattern(name) { self.files.matching(&path) } else { vec![path] };
        let mut directives = Vec::new();
        for path in paths {
            self.included += 1;
            if depth >= DEPTH_MAX || self.included > FILES_MAX {
                let (file, line) = (directive.file.to_string(), directive.line);
                return Err(ConfigError::Nginx { file, line, mistake: Mistake::TooDeep });
            }
            let text = self.files.read_lossy(&path).map_err(|error| match error {
                ConfigError::Read { file, source } => {
                    directive.fail(Problem::Unreadable { file, reason: source.to_string() })
                }
                other => other,
            })?;
            directives.extend(self.file(&path, &text, depth + 1)?);
        }
        Ok(directives)
    }
}
