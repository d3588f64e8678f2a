package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/bundlewatch/bundlewatch/internal/signature"
)

func runKeygen(args []string) error {
	var curve string
	f, err := parse("keygen", args, false, true, func(set *flag.FlagSet) {
		set.StringVar(&curve, "curve", string(signature.Curves[0]), "")
	})
	if err != nil {
		return err
	}
	private := "signing.pem"
	switch len(f.paths) {
	case 0:
	case 1:
		private = f.paths[0]
	default:
		return &usageError{"keygen takes one path, of the file for the private key"}
	}
	c, err := signature.ParseCurve(curve)
	if err != nil {
		return &usageError{"keygen: " + err.Error()}
	}
	key, err := signature.Generate(c)
	if err != nil {
		return err
	}
	public := strings.TrimSuffix(private, ".pem") + ".pub"
	if err := signature.WritePair(key, private, public); err != nil {
		return err
	}
	return tellPair(f.json, key.Public(), private, public)
}

func tellPair(asJSON bool, key *signature.PublicKey, private, public string) (err error) {
	if asJSON {
		err = json.NewEncoder(os.Stdout).Encode(struct {
			Private     string          `json:"private"`
			Public      string          `json:"public"`
			Curve       signature.Curve `json:"curve"`
			Fingerprint string          `json:"fingerprint"`
		}{private, public, key.Curve(), key.Fingerprint()})
	} else {
		_, err = fmt.Printf("private   %s (keep it to yourself)\npublic    %s (for whoever verifies)\nkey       %s %s\n",
			visible(private), visible(public), key.Curve(), key.Fingerprint())
	}
	if err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}
