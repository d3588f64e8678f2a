package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// EnvVar is the environment variable that names the configuration file.
const EnvVar = "BUNDLEWATCH_CONFIG"

// usualPlaces are searched in this order where neither the flag nor the variable says more.
var usualPlaces = []string{"bundlewatch.toml", "/etc/bundlewatch/bundlewatch.toml"}

// Find returns the configuration file to use: the one of the flag, else of $BUNDLEWATCH_CONFIG, else
// ./bundlewatch.toml, else /etc/bundlewatch/bundlewatch.toml. A file that was named is returned even
// if it does not exist, so that another one is never used instead. The error says what was tried; it
// wraps [fs.ErrNotExist].
func Find(flag string) (string, error) {
	return find(flag, os.Getenv(EnvVar), usualPlaces)
}

func find(flag, env string, places []string) (string, error) {
	if flag != "" {
		return flag, nil
	}
	if env != "" {
		return env, nil
	}
	for _, path := range places {
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			return path, nil
		}
	}
	return "", fmt.Errorf("find config: --config not given, $%s not set, none of %q exists; write one or name it: %w",
		EnvVar, places, fs.ErrNotExist)
}
