package manual

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Program is what a help text says of a program.
type Program struct {
	Name    string
	Summary string // its first paragraph, without the name
	Verbs   []Verb
	Options []Option // those that the help describes in lines of their own
	Filters []Option // what FILTER in a synopsis stands for
	Rest    []string // the paragraphs behind
}

// Verb is one way to call the program.
type Verb struct {
	Words    []string // such as "tidy", "undo"
	Synopsis string   // what follows the words
	Help     string   // one paragraph
	Options  []Option
	Operands []Operand
	Filtered bool // it takes Program.Filters
}

// Option is a flag.
type Option struct {
	Name  string // without dashes
	Value Value
	Help  string
}

// Operand is an argument that is no flag.
type Operand struct {
	Value Value
	Many  bool // any number of them from here on
}

// Value is what an argument or a flag takes. The zero value is for a flag that takes none.
type Value struct {
	Name    string   // as the help calls it, such as DIR
	Choices []string // all that is allowed; nil when that is no short list
}

// Kind says what a shell offers for a value.
type Kind int

// The kinds.
const (
	Nothing Kind = iota // there is no value
	Text
	Files
	Directories
	Choices
)

// names of values that are paths.
var (
	fileNames = []string{"F", "FILE", "PATH", "BUNDLE", "PUB", "A", "B"}
	dirNames  = []string{"D", "DIR"}
)

// Kind tells what to offer.
func (v Value) Kind() Kind {
	switch {
	case v.Choices != nil:
		return Choices
	case v.Name == "":
		return Nothing
	case slices.Contains(fileNames, v.Name):
		return Files
	case slices.Contains(dirNames, v.Name):
		return Directories
	}
	return Text
}

// Label is the verb without the program's name, such as "tidy undo".
func (v Verb) Label() string { return strings.Join(v.Words, " ") }

const (
	indent     = "  "
	helpColumn = 46 // where the help of a verb begins
)

var (
	optionLine = regexp.MustCompile(`^  --([a-z][a-z0-9-]*)(?: ([A-Z][A-Z0-9]*))? {2,}(\S.*)$`)
	wordOnly   = regexp.MustCompile(`^[a-z][a-z0-9-]*$`)
	valueName  = regexp.MustCompile(`^[A-Z][A-Z0-9]*$`)
	choiceList = regexp.MustCompile(`^[A-Za-z0-9.-]+(\|[A-Za-z0-9.-]+)+$`)
)

// Parse reads a help text. It has a paragraph that begins with the program's name, then the verbs, each on a line of its own
// that begins with two spaces and the name, with the help at column 46 of that line or of the next ones; then options, each with
// two spaces, its name, value and help; then, behind a line "FILTER is any of:", those that FILTER stands for.
func Parse(help string) (*Program, error) {
	paragraphs := strings.Split(strings.TrimRight(help, "\n"), "\n\n")
	name, summary, ok := strings.Cut(paragraphs[0], " ")
	if !ok || !wordOnly.MatchString(name) {
		return nil, fmt.Errorf("read the help: its first word %q is no name of a program", name)
	}
	p := &Program{Name: name, Summary: joined(strings.Split(summary, "\n"))}
	for _, paragraph := range paragraphs[1:] {
		if err := p.add(strings.Split(paragraph, "\n")); err != nil {
			return nil, fmt.Errorf("read the help: %w", err)
		}
	}
	p.describe()
	return p, nil
}

// add reads one paragraph.
func (p *Program) add(lines []string) error {
	switch {
	case strings.HasPrefix(lines[0], indent+p.Name):
		return p.addVerbs(lines)
	case lines[0] == indent+"FILTER is any of:":
		return addOptions(&p.Filters, lines[1:])
	case optionLine.MatchString(lines[0]):
		return addOptions(&p.Options, lines)
	}
	p.Rest = append(p.Rest, joined(lines))
	return nil
}

func (p *Program) addVerbs(lines []string) error {
	pending := 0 // verbs that wait for the help below
	for _, line := range lines {
		text, begins := strings.CutPrefix(line, indent+p.Name+" ")
		if !begins {
			if len(p.Verbs) == 0 || strings.TrimLeft(line[:min(helpColumn, len(line))], " ") != "" {
				return fmt.Errorf("%q is neither a verb nor the help of one", line)
			}
			for i := len(p.Verbs) - max(pending, 1); i < len(p.Verbs); i++ {
				p.Verbs[i].Help = joined([]string{p.Verbs[i].Help, line})
			}
			continue
		}
		verb, err := parseVerb(splitHelp(line, len(line)-len(text)))
		if err != nil {
			return err
		}
		if pending > 0 && p.Verbs[len(p.Verbs)-1].Help != "" {
			pending = 0
		}
		if pending++; verb.Help != "" {
			pending = 0
		}
		p.Verbs = append(p.Verbs, verb)
	}
	return nil
}

// splitHelp splits a line of a verb, whose words begin at from, into its synopsis and its help.
func splitHelp(line string, from int) (synopsis, help string) {
	if len(line) > helpColumn && line[helpColumn-1] == ' ' && line[helpColumn] != ' ' {
		before, behind := line[from:helpColumn], line[helpColumn:]
		goesOn := strings.Count(before, "[") != strings.Count(before, "]") || strings.HasPrefix(behind, "[") || strings.HasPrefix(behind, "--")
		if !goesOn {
			return before, behind
		}
	}
	return line[from:], ""
}

// parseVerb reads a synopsis.
func parseVerb(synopsis, help string) (Verb, error) {
	words := strings.Fields(synopsis)
	v := Verb{Help: joined([]string{help})}
	for len(words) > 0 && wordOnly.MatchString(words[0]) {
		v.Words, words = append(v.Words, words[0]), words[1:]
	}
	if len(v.Words) == 0 {
		return v, fmt.Errorf("the synopsis %q begins with no verb", synopsis)
	}
	v.Synopsis = strings.Join(words, " ")
	for i := 0; i < len(words); i++ {
		word := strings.Trim(words[i], "[]")
		option, isOption := strings.CutPrefix(word, "--")
		switch {
		case word == "|":
		case word == "FILTER...":
			v.Filtered = true
		case isOption && i+1 < len(words) && !strings.HasSuffix(words[i], "]") && isValue(words[i+1]):
			i++
			v.Options = append(v.Options, Option{Name: option, Value: parseValue(words[i])})
		case isOption:
			v.Options = append(v.Options, Option{Name: option})
		case isValue(word):
			v.Operands = append(v.Operands, Operand{Value: parseValue(word), Many: strings.Contains(word, "...")})
		default:
			return v, fmt.Errorf("the synopsis %q has %q, which is neither an option nor a value", synopsis, words[i])
		}
	}
	return v, nil
}

// bare is a word of a synopsis without what says how often it may stand there.
func bare(word string) string { return strings.TrimSuffix(strings.Trim(word, "[]"), "...") }

func isValue(word string) bool {
	return valueName.MatchString(bare(word)) || choiceList.MatchString(bare(word))
}

func parseValue(word string) Value {
	word = bare(word)
	if choiceList.MatchString(word) {
		return Value{Name: word, Choices: strings.Split(word, "|")}
	}
	return Value{Name: word}
}

func addOptions(to *[]Option, lines []string) error {
	for _, line := range lines {
		if m := optionLine.FindStringSubmatch(line); m != nil {
			*to = append(*to, Option{Name: m[1], Value: Value{Name: m[2]}, Help: m[3]})
			continue
		}
		if len(*to) == 0 || !strings.HasPrefix(line, indent+" ") {
			return fmt.Errorf("%q describes no option", line)
		}
		last := &(*to)[len(*to)-1]
		last.Help = joined([]string{last.Help, line})
	}
	return nil
}

// describe gives the options of verbs the help that lines of their own have for them.
func (p *Program) describe() {
	for i := range p.Verbs {
		for j := range p.Verbs[i].Options {
			o := &p.Verbs[i].Options[j]
			for _, described := range slices.Concat(p.Options, p.Filters) {
				if o.Help == "" && described.Name == o.Name && (described.Value.Name == "") == (o.Value.Name == "") {
					o.Help = described.Help
				}
			}
		}
	}
}

// Flags returns all the flags that a verb takes, also those of its other synopses.
func (p *Program) Flags(v Verb) []Option {
	var flags []Option
	add := func(more []Option) {
		for _, o := range more {
			if !slices.ContainsFunc(flags, func(f Option) bool { return f.Name == o.Name }) {
				flags = append(flags, o)
			}
		}
	}
	filtered := false
	for _, other := range p.Verbs {
		if slices.Equal(other.Words, v.Words) {
			add(other.Options)
			filtered = filtered || other.Filtered
		}
	}
	if filtered {
		add(p.Filters)
	}
	return flags
}

// commands are the verbs, each once: the first of its synopses.
func (p *Program) commands() []Verb {
	var all []Verb
	for _, v := range p.Verbs {
		if !slices.ContainsFunc(all, func(other Verb) bool { return slices.Equal(other.Words, v.Words) }) {
			all = append(all, v)
		}
	}
	return all
}

// below returns the words that may follow words, such as "undo" after "tidy".
func (p *Program) below(words ...string) []string {
	var next []string
	for _, v := range p.Verbs {
		if len(v.Words) > len(words) && slices.Equal(v.Words[:len(words)], words) && !slices.Contains(next, v.Words[len(words)]) {
			next = append(next, v.Words[len(words)])
		}
	}
	return next
}

// verb returns the verb with exactly these words, nil when there is none.
func (p *Program) verb(words []string) *Verb {
	for i := range p.Verbs {
		if slices.Equal(p.Verbs[i].Words, words) {
			return &p.Verbs[i]
		}
	}
	return nil
}

func (p *Program) helpOf(words []string) string {
	if v := p.verb(words); v != nil {
		return v.Help
	}
	return ""
}

func (p *Program) operands(words []string) []Operand {
	if v := p.verb(words); v != nil {
		return v.Operands
	}
	return nil
}

// joined makes one line of several.
func joined(lines []string) string {
	return strings.Join(strings.Fields(strings.Join(lines, " ")), " ")
}
