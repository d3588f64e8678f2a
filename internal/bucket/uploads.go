package bucket

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// uploads remembers the ids of uploads that were begun, one file for each, so that a restart goes on with them.
// What is lost costs sending the parts again.
type uploads struct{ dir string }

type begun struct {
	Key string `json:"key"`
	ID  string `json:"upload_id"`
}

func (u uploads) path(key string) string {
	sum := sha256.Sum256([]byte(key))
	return filepath.Join(u.dir, hex.EncodeToString(sum[:16])+".json")
}

// find returns the id of the upload of a key, "" where none is known.
func (u uploads) find(key string) string {
	if u.dir == "" {
		return ""
	}
	data, err := os.ReadFile(u.path(key))
	var b begun
	if err != nil || json.Unmarshal(data, &b) != nil || b.Key != key {
		return ""
	}
	return b.ID
}

// put remembers an id before the first part is sent.
func (u uploads) put(key, id string) error {
	if u.dir == "" {
		return nil
	}
	if err := os.MkdirAll(u.dir, 0o777); err != nil {
		return fmt.Errorf("remember upload: %w", err)
	}
	data, err := json.Marshal(begun{key, id})
	if err != nil {
		return err
	}
	temp := u.path(key) + ".new"
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return fmt.Errorf("remember upload: %w", err)
	}
	_, err = f.Write(append(data, '\n'))
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(temp, u.path(key))
	}
	if err != nil {
		return fmt.Errorf("remember upload: %w", errors.Join(err, os.Remove(temp)))
	}
	return nil
}

func (u uploads) forget(key string) {
	if u.dir != "" {
		_ = os.Remove(u.path(key)) // what is left is found out when it is used
	}
}
