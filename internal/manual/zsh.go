package manual

import (
	"fmt"
	"strings"
)

// Zsh returns the program's completions for zsh.
func (p *Program) Zsh() string {
	var b strings.Builder
	fmt.Fprintf(&b, "#compdef %[1]s\n# zsh completion for %[1]s. Made by: %[1]s completion zsh\n\n", p.Name)
	p.zshFunction(&b, nil)
	fmt.Fprintf(&b, `# Loaded by compinit the file is the function; sourced it defines it.
if [[ $funcstack[1] = _%[1]s ]]; then
  _%[1]s "$@"
else
  compdef _%[1]s %[1]s
fi
`, p.Name)
	return b.String()
}

// zshFunction writes the function for what follows words, and those that it calls.
func (p *Program) zshFunction(b *strings.Builder, words []string) {
	fmt.Fprintf(b, "%s() {\n  local context state state_descr line\n  typeset -A opt_args\n  _arguments -S", p.zshName(words))
	if v := p.verb(words); v != nil {
		for _, o := range p.Flags(*v) {
			fmt.Fprintf(b, " \\\n    %s", quoteShell(zshFlag(o)))
		}
	}
	next := p.below(words...)
	if len(next) == 0 {
		for i, operand := range p.operands(words) {
			fmt.Fprintf(b, " \\\n    %s", quoteShell(zshOperand(i+1, operand)))
		}
		b.WriteString(" \\\n    '(- *)--help[show the help]'\n}\n\n")
		return
	}
	fmt.Fprintf(b, " \\\n    '(- *)--help[show the help]' \\\n    '1: :->word' \\\n    '*:: :->rest'\n  case $state in\n  word)\n    local -a words_here=(\n")
	for _, word := range next {
		fmt.Fprintf(b, "      %s\n", quoteShell(word+":"+p.helpOf(append(words[:len(words):len(words)], word))))
	}
	b.WriteString("    )\n    _describe -t commands word words_here\n    ;;\n  rest)\n    case $line[1] in\n")
	for _, word := range next {
		fmt.Fprintf(b, "    %s) %s ;;\n", word, p.zshName(append(words[:len(words):len(words)], word)))
	}
	b.WriteString("    esac\n    ;;\n  esac\n}\n\n")
	for _, word := range next {
		p.zshFunction(b, append(words[:len(words):len(words)], word))
	}
}

func (p *Program) zshName(words []string) string {
	return strings.Join(append([]string{"_" + p.Name}, words...), "_")
}

func zshFlag(o Option) string {
	text := "[" + zshText(o.Help) + "]"
	if o.Value.Kind() == Nothing {
		return "--" + o.Name + text
	}
	return "--" + o.Name + "=" + text + ":" + zshText(o.Value.Name) + ":" + zshAction(o.Value)
}

func zshOperand(at int, o Operand) string {
	position := fmt.Sprint(at)
	if o.Many {
		position = "*"
	}
	return position + ":" + zshText(o.Value.Name) + ":" + zshAction(o.Value)
}

func zshAction(v Value) string {
	switch v.Kind() {
	case Files:
		return "_files"
	case Directories:
		return "_files -/"
	case Choices:
		return "(" + strings.Join(v.Choices, " ") + ")"
	}
	return " "
}

// zshText escapes what has a meaning in a specification of _arguments.
func zshText(s string) string {
	return strings.NewReplacer(`\`, `\\`, `[`, `\[`, `]`, `\]`, `:`, `\:`).Replace(s)
}

// quoteShell quotes a word for a POSIX shell.
func quoteShell(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
