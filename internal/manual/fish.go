package manual

import (
	"fmt"
	"strings"
)

// Fish returns the program's completions for fish.
func (p *Program) Fish() string {
	var b strings.Builder
	fmt.Fprintf(&b, `# fish completion for %[1]s. Made by: %[1]s completion fish

# Succeeds when the words on the command line that are no flags begin with these, and none of the words behind "not" follows.
function __fish_%[1]s_at
    set -l want
    set -l others
    set -l to want
    for word in $argv
        if test "$word" = not
            set to others
        else
            set -a $to $word
        end
    end
    set -l found
    for word in (commandline -opc)[2..-1]
        string match -q -- '-*' $word; or set -a found $word
    end
    for i in (seq (count $want))
        test "$want[$i]" = "$found[$i]"; or return 1
    end
    set -l next (math (count $want) + 1)
    test (count $found) -lt $next; or not contains -- $found[$next] $others
end

# Succeeds when nothing but these words was said yet.
function __fish_%[1]s_before
    set -l found
    for word in (commandline -opc)[2..-1]
        string match -q -- '-*' $word; or set -a found $word
    end
    test "$found" = "$argv"
end

complete -c %[1]s -f
complete -c %[1]s -l help -d 'show the help'
`, p.Name)
	for _, word := range p.below() {
		p.fishWord(&b, nil, word)
	}
	for _, v := range p.commands() {
		p.fishVerb(&b, v)
	}
	return b.String()
}

// fishWord offers a word behind others.
func (p *Program) fishWord(b *strings.Builder, words []string, word string) {
	help := p.helpOf(append(words[:len(words):len(words)], word))
	condition := strings.TrimSpace("__fish_" + p.Name + "_before " + strings.Join(words, " "))
	fmt.Fprintf(b, "complete -c %s -n %s -a %s -d %s\n", p.Name, quoteFish(condition), word, quoteFish(help))
}

func (p *Program) fishVerb(b *strings.Builder, v Verb) {
	at := "__fish_" + p.Name + "_at " + v.Label()
	next := p.below(v.Words...)
	if len(next) > 0 {
		at += " not " + strings.Join(next, " ")
	}
	line := fmt.Sprintf("complete -c %s -n %s", p.Name, quoteFish(at))
	for _, o := range p.Flags(v) {
		fmt.Fprintf(b, "%s -l %s%s -d %s\n", line, o.Name, fishValue(o.Value), quoteFish(o.Help))
	}
	for _, word := range next {
		p.fishWord(b, v.Words, word)
	}
	offered := map[string]bool{}
	for _, operand := range v.Operands {
		switch offer := fishOperand(operand.Value); {
		case len(next) > 0, offer == "", offered[offer]:
		default:
			offered[offer] = true
			fmt.Fprintf(b, "%s%s\n", line, offer)
		}
	}
}

func fishValue(v Value) string {
	switch v.Kind() {
	case Nothing:
		return ""
	case Files:
		return " -r -F"
	case Directories:
		return " -x -a '(__fish_complete_directories)'"
	case Choices:
		return " -x -a " + quoteFish(strings.Join(v.Choices, " "))
	}
	return " -x"
}

func fishOperand(v Value) string {
	switch v.Kind() {
	case Files:
		return " -F"
	case Directories:
		return " -a '(__fish_complete_directories)'"
	case Choices:
		return " -a " + quoteFish(strings.Join(v.Choices, " "))
	}
	return ""
}

func quoteFish(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(s) + "'"
}
