package checkpoint

import (
	"bytes"
	"encoding/json"
)

// parseJSON reads JSON as Python's json module writes it: NaN and infinities count as null. The error is a [*Broken].
func parseJSON(data []byte, into any) error {
	if err := json.Unmarshal(withoutNaN(data), into); err != nil {
		return &Broken{Reason: "it is not the JSON that it should be: " + err.Error(), Err: err}
	}
	return nil
}

// checkJSON proves that a file of the folder is JSON.
func (f folder) checkJSON(name string) error {
	data, err := f.description(name)
	if err != nil {
		return err
	}
	var value any
	if err := parseJSON(data, &value); err != nil {
		return f.inFile(name, err)
	}
	return nil
}

// object reads the JSON object that a file of the folder is.
func (f folder) object(name string) (map[string]json.RawMessage, error) {
	data, err := f.description(name)
	if err != nil {
		return nil, err
	}
	var object map[string]json.RawMessage
	if err := parseJSON(data, &object); err != nil {
		return nil, f.inFile(name, err)
	}
	if object == nil {
		return nil, f.broken(name, "it is null instead of a JSON object")
	}
	f.done[f.dir+name] = true
	return object, nil
}

// withoutNaN replaces the numbers that Python writes and JSON does not know, a NaN of the loss above all.
func withoutNaN(data []byte) []byte {
	if !bytes.Contains(data, []byte("NaN")) && !bytes.Contains(data, []byte("Infinity")) {
		return data
	}
	out := make([]byte, 0, len(data))
	for len(data) > 0 {
		text, rest := cutString(data)
		for _, number := range []string{"-Infinity", "Infinity", "NaN"} {
			text = bytes.ReplaceAll(text, []byte(number), []byte("null"))
		}
		out = append(out, text...)
		text, data = cutStringEnd(rest)
		out = append(out, text...)
	}
	return out
}

// cutString splits before the next string.
func cutString(data []byte) (before, after []byte) {
	if i := bytes.IndexByte(data, '"'); i >= 0 {
		return data[:i], data[i:]
	}
	return data, nil
}

// cutStringEnd splits after the string at the start of data.
func cutStringEnd(data []byte) (text, after []byte) {
	for i := 1; i < len(data); i++ {
		switch data[i] {
		case '\\':
			i++
		case '"':
			return data[:i+1], data[i+1:]
		}
	}
	return data, nil
}
