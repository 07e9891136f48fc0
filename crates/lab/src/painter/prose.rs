//! Text that looks like a program in an editor, the same at each run.

/// A run of letters of one colour.
pub(super) struct Run {
    /// Its place in the line, in letters.
    pub(super) column: usize,
    pub(super) text: String,
    /// Below [`COLOURS`].
    pub(super) colour: usize,
}

/// How many colours there are.
pub(super) const COLOURS: usize = 6;

const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyzeeaaoottnnssABCDEFX0123456789_";
const SIGNS: &[u8] = b"(){}[]<>=+-*/&|!:;,.\"'#%";

/// An endless source of lines.
pub(super) struct Prose(u64);

impl Prose {
    pub(super) fn new() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }

    /// The next line, up to so many letters long.
    pub(super) fn line(&mut self, columns: usize) -> Vec<Run> {
        let indent = 4 * self.below(columns / 16 + 1);
        // Most lines of a terminal are not full.
        let end = columns - self.below(columns / 3 + 1);
        let mut runs = Vec::new();
        let mut column = indent.min(end);
        while column < end {
            let run = self.run(column, end - column);
            // A run is never empty, so this ends.
            column += run.text.len() + 1;
            runs.push(run);
        }
        runs
    }

    fn run(&mut self, column: usize, room: usize) -> Run {
        let length = (1 + self.below(11)).min(room);
        let letters = if self.below(5) == 0 { SIGNS } else { LETTERS };
        let text = (0..length).map(|_| char::from(letters[self.below(letters.len())])).collect();
        Run { column, text, colour: self.below(COLOURS) }
    }

    /// Xorshift: chance enough for letters.
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 32) as usize) % limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(columns: usize) -> Vec<String> {
        let mut prose = Prose::new();
        let line = |_| {
            prose.line(columns).into_iter().fold(String::new(), |line, run| {
                assert!(run.colour < COLOURS && !run.text.is_empty());
                assert!(run.column >= line.len(), "runs do not overlap");
                format!(
                    "{line:columns$.width$}{}",
                    run.text,
                    columns = run.column,
                    width = run.column
                )
            })
        };
        (0..200).map(line).collect()
    }

    #[test]
    fn lines_fit_and_are_dense_and_the_same_at_each_run() {
        for columns in [1, 20, 213] {
            let lines = lines(columns);
            assert!(lines.iter().all(|line| line.len() <= columns && line.is_ascii()));
            assert_eq!(lines, self::lines(columns));
        }
        let letters: usize = lines(213).iter().map(|l| l.replace(' ', "").len()).sum();
        assert!(letters > 200 * 213 / 2, "{letters} letters");
    }

    #[test]
    fn lines_differ() {
        let mut lines = lines(213);
        lines.sort();
        lines.dedup();
        assert_eq!(lines.len(), 200);
    }
}
