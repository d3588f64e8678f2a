// Command stores simulates many hosts on one store, with a store in memory: requests, cost and listings. What it prints
// stands in docs/store.md; how fast bundles get into a real store is measured by bench/run.sh -only stores.
//
//	go run ./bench/stores simulate
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
	if len(args) == 0 || args[0] != "simulate" {
		return fmt.Errorf("say simulate")
	}
	set := flag.NewFlagSet(args[0], flag.ExitOnError)
	s := &simulation{}
	set.IntVar(&s.hosts, "hosts", 1000, "hosts that publish at the same time")
	set.IntVar(&s.each, "each", 1, "bundles of each host")
	set.IntVar(&s.limit, "limit", 200, "requests that the store takes in a second")
	set.IntVar(&s.names, "names", 1_000_000, "names to list")
	_ = set.Parse(args[1:])
	return s.run(ctx)
}
