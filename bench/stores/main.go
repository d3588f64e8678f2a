// Command stores measures how fast bundles get into an S3 store, against the tools that people use for that, and
// simulates many hosts on one store. See docs/store.md.
//
//	go run ./bench/stores upload     to a versitygw on loopback, which $BUNDLEWATCH_VERSITYGW or the PATH names
//	go run ./bench/stores simulate   hosts, requests, cost and listings, with a store in memory
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "stores: error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("say upload or simulate")
	}
	if args[0] == "make" && len(args) == 4 {
		return makeCheckpoints(args[1], args[2], args[3])
	}
	set := flag.NewFlagSet(args[0], flag.ExitOnError)
	switch args[0] {
	case "upload":
		u := &upload{}
		set.StringVar(&u.dir, "dir", os.TempDir(), "where to work, on a disk")
		set.IntVar(&u.large, "large", 2, "bundles of 1 GiB")
		set.IntVar(&u.small, "small", 1000, "bundles of some KiB")
		set.IntVar(&u.runs, "runs", 3, "times that each command is run")
		set.BoolVar(&u.keepAlive, "keep-alive", false, "let versitygw keep connections open, as most stores do and it does not by itself")
		_ = set.Parse(args[1:])
		return u.run(ctx)
	case "simulate":
		s := &simulation{}
		set.IntVar(&s.hosts, "hosts", 1000, "hosts that publish at the same time")
		set.IntVar(&s.each, "each", 1, "bundles of each host")
		set.IntVar(&s.limit, "limit", 200, "requests that the store takes in a second")
		set.IntVar(&s.names, "names", 1_000_000, "names to list")
		_ = set.Parse(args[1:])
		return s.run(ctx)
	}
	return fmt.Errorf("say upload or simulate, not %q", args[0])
}
