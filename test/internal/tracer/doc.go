// Package tracer runs a program under ptrace(2) and lets a test react to every system call by which it
// reads or changes files: kill it before the call, let the call fail, or let it do only a part. Calls
// are told one at a time over all threads of the program, so that each of them can be hit. It knows the
// registers of amd64.
package tracer
