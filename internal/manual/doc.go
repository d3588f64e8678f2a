// Package manual turns the text that --help prints into what an operating system wants of a program: a manual page and
// completions for shells. The help text is the one definition: a verb or a flag that is added there is in all of them.
package manual
