package main

import (
	"context"
	"errors"
)

func runInit(context.Context, []string) error { return errors.New("x") }
