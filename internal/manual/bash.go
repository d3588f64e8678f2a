package manual

import (
	"fmt"
	"strings"
)

// Bash returns the program's completions for bash 4 and later. They need nothing beside it; what bash-completion offers is not used.
func (p *Program) Bash() string {
	var b strings.Builder
	fmt.Fprintf(&b, `# bash completion for %[1]s. Made by: %[1]s completion bash

_%[1]s() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev= verb= word skip= operands=0 dashes= i
    COMPREPLY=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if [[ $word == = ]]; then # readline cuts --flag=value in three
            skip=1
        elif [[ $skip ]]; then
            skip=
        elif [[ $dashes || $word != -* ]]; then
            case "$verb $word" in
%[2]s            *) ((operands++)) ;;
            esac
        elif [[ $word == -- ]]; then
            dashes=1
        else
            case "$verb $word" in
%[3]s            esac
        fi
    done
    [[ ! $dashes && $COMP_CWORD -gt 1 ]] && prev=${COMP_WORDS[COMP_CWORD-1]}
    if [[ $cur == = ]]; then
        cur=
    elif [[ $prev == = ]]; then
        prev=${COMP_WORDS[COMP_CWORD-2]}
    elif [[ ! $skip ]]; then
        prev=
    fi
    if [[ $prev == -* ]]; then
        case "$verb $prev" in
%[4]s        esac
        return
    fi
    if [[ $cur == -* && ! $dashes ]]; then
        case $verb in
%[5]s        esac
        return
    fi
    case "$verb $operands" in
%[6]s    esac
}

_%[1]s_words() { mapfile -t COMPREPLY < <(compgen -W "$1" -- "$cur"); }

_%[1]s_paths() {
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen "$1" -- "$cur")
}

complete -F _%[1]s %[1]s
`, p.Name, p.bashVerbs(), p.bashValued(), p.bashValues(), p.bashFlags(), p.bashOperands())
	return b.String()
}

// bashVerbs sets verb as its words are passed.
func (p *Program) bashVerbs() string {
	var b strings.Builder
	seen := map[string]bool{}
	for _, v := range p.commands() {
		for n := range v.Words {
			label := strings.Join(v.Words[:n+1], " ")
			if !seen[label] {
				seen[label] = true
				fmt.Fprintf(&b, "            %q) verb=%q ;;\n", strings.Join(v.Words[:n], " ")+" "+v.Words[n], label)
			}
		}
	}
	return b.String()
}

// bashValued marks flags whose value is the next word.
func (p *Program) bashValued() string {
	var b strings.Builder
	for _, v := range p.commands() {
		if names := patterns(v.Label(), p.Flags(v), true); len(names) > 0 {
			fmt.Fprintf(&b, "            %s) skip=1 ;;\n", strings.Join(names, "|"))
		}
	}
	return b.String()
}

// patterns are the case patterns of flags with a value, of all flags when valued is false.
func patterns(verb string, flags []Option, valued bool) []string {
	var all []string
	for _, o := range flags {
		if !valued || o.Value.Kind() != Nothing {
			all = append(all, fmt.Sprintf("%q|%q", verb+" --"+o.Name, verb+" -"+o.Name))
		}
	}
	return all
}

// bashValues offers values of flags.
func (p *Program) bashValues() string {
	var b strings.Builder
	for _, v := range p.commands() {
		for _, o := range p.Flags(v) {
			if offer := p.bashOffer(o.Value); offer != "" {
				fmt.Fprintf(&b, "        %s) %s ;;\n", strings.Join(patterns(v.Label(), []Option{o}, true), "|"), offer)
			}
		}
	}
	return b.String()
}

func (p *Program) bashOffer(v Value) string {
	switch v.Kind() {
	case Files:
		return "_" + p.Name + "_paths -f"
	case Directories:
		return "_" + p.Name + "_paths -d"
	case Choices:
		return fmt.Sprintf("_%s_words %q", p.Name, strings.Join(v.Choices, " "))
	}
	return ""
}

// bashFlags offers flags.
func (p *Program) bashFlags() string {
	var b strings.Builder
	fmt.Fprintf(&b, "        '') _%s_words '--help --version' ;;\n", p.Name)
	for _, v := range p.commands() {
		names := []string{"--help"}
		for _, o := range p.Flags(v) {
			names = append(names, "--"+o.Name)
		}
		fmt.Fprintf(&b, "        %q) _%s_words %q ;;\n", v.Label(), p.Name, strings.Join(names, " "))
	}
	return b.String()
}

// bashOperands offers verbs and other arguments by their position.
func (p *Program) bashOperands() string {
	var b strings.Builder
	fmt.Fprintf(&b, "    ' 0') _%s_words %q ;;\n", p.Name, strings.Join(p.below(), " "))
	for _, v := range p.commands() {
		if next := p.below(v.Words...); len(next) > 0 {
			fmt.Fprintf(&b, "    %q) _%s_words %q ;;\n", v.Label()+" 0", p.Name, strings.Join(next, " "))
			continue
		}
		for i, operand := range v.Operands {
			at := fmt.Sprintf("%q", fmt.Sprintf("%s %d", v.Label(), i))
			if operand.Many {
				at = fmt.Sprintf("%q*", v.Label()+" ")
			}
			if offer := p.bashOffer(operand.Value); offer != "" {
				fmt.Fprintf(&b, "    %s) %s ;;\n", at, offer)
			}
		}
	}
	return b.String()
}
