package manual

import (
	"fmt"
	"regexp"
	"strings"
	"time"
)

// Page returns the program's manual page in section 1, in roff with the man macros. The date may be zero; version may be empty.
func (p *Program) Page(version string, date time.Time) string {
	var b strings.Builder
	day := ""
	if !date.IsZero() {
		day = date.UTC().Format(time.DateOnly)
	}
	fmt.Fprintf(&b, ".\\\" Made by: %s man\n.TH %s 1 %q %q\n", p.Name, strings.ToUpper(p.Name), day, version)
	short, _, _ := strings.Cut(p.Summary, ",")
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", p.Name, roff(short))
	b.WriteString(".SH SYNOPSIS\n")
	for i, v := range p.Verbs {
		if i > 0 {
			b.WriteString(".br\n")
		}
		fmt.Fprintf(&b, ".B %s %s\n%s", p.Name, roff(v.Label()), roffSynopsis(v))
	}
	fmt.Fprintf(&b, ".SH DESCRIPTION\n.B %s\n%s\n", p.Name, filled(p.Summary))
	b.WriteString(".SH COMMANDS\n")
	for _, v := range p.Verbs {
		fmt.Fprintf(&b, ".TP\n.B %s\n%s\n", roff(strings.TrimSpace(v.Label()+" "+v.Synopsis)), filled(v.Help))
	}
	b.WriteString(".SH OPTIONS\n")
	roffOptions(&b, p.Options)
	if len(p.Filters) > 0 {
		b.WriteString(".SS FILTER is any of:\n")
		roffOptions(&b, p.Filters)
	}
	for _, paragraph := range p.Rest {
		p.roffRest(&b, paragraph)
	}
	b.WriteString(roffEnd)
	return b.String()
}

// roffEnd is what no option is about.
const roffEnd = `.SH ENVIRONMENT
.TP
.B BUNDLEWATCH_CONFIG
the configuration file, where
.B \-\-config
is not given
.SH FILES
.TP
.I /etc/bundlewatch/bundlewatch.toml
the configuration of the service
.TP
.I /var/lib/bundlewatch/artifacts
where the service puts bundles, unless its configuration says otherwise
.TP
.I /usr/share/doc/bundlewatch
the documentation; below
.I /usr/local
where it was installed there
.SH SEE ALSO
.BR systemctl (1),
.BR journalctl (1),
.BR sha256sum (1)
`

func roffSynopsis(v Verb) string {
	if v.Synopsis == "" {
		return ""
	}
	return roff(v.Synopsis) + "\n"
}

func roffOptions(b *strings.Builder, options []Option) {
	for _, o := range options {
		fmt.Fprintf(b, ".TP\n.B \\-\\-%s\n", roff(strings.TrimSpace(o.Name+" "+o.Value.Name)))
		fmt.Fprintf(b, "%s\n", filled(o.Help))
	}
}

var exitCodes = regexp.MustCompile(`^Exit codes: `)

// roffRest writes a paragraph from behind the options. Exit codes have a section of their own, with a line for each.
func (p *Program) roffRest(b *strings.Builder, paragraph string) {
	if !exitCodes.MatchString(paragraph) {
		fmt.Fprintf(b, ".SH OUTPUT\n%s\n", filled(paragraph))
		return
	}
	b.WriteString(".SH EXIT STATUS\n")
	for _, line := range strings.Split(strings.TrimSuffix(exitCodes.ReplaceAllString(paragraph, ""), "."), "; ") {
		code, meaning, _ := strings.Cut(line, " ")
		fmt.Fprintf(b, ".TP\n.B %s\n%s\n", roff(code), filled(meaning))
	}
}

// filled is text in lines that are not long.
func filled(text string) string {
	const width = 78
	var lines []string
	var line string
	for _, word := range strings.Fields(text) {
		if line != "" && len(roff(line))+1+len(roff(word)) > width {
			lines, line = append(lines, roff(line)), ""
		}
		line = strings.TrimSpace(line + " " + word)
	}
	return strings.Join(append(lines, roff(line)), "\n")
}

// roff escapes text that begins a line.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, `-`, `\-`).Replace(s)
	if strings.HasPrefix(s, ".") || strings.HasPrefix(s, "'") {
		s = `\&` + s
	}
	return s
}
