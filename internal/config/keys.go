package config

// keyDoc is one key of the file: what is read, what it defaults to, and what the reference page says.
type keyDoc struct {
	name     string
	kind     string
	initial  string // the default, "" if there is none
	required bool
	meaning  string
}

// tableDoc is one table of the file.
type tableDoc struct {
	header  string // as written in the file
	keys    []keyDoc
	free    bool // the keys are the user's own names
	meaning string
}

func (d tableDoc) names() []string {
	names := make([]string, len(d.keys))
	for i, key := range d.keys {
		names[i] = key.name
	}
	return names
}

// key returns the documentation of a key; the zero value for a name of the user's own.
func (d tableDoc) key(name string) keyDoc {
	for _, key := range d.keys {
		if key.name == name {
			return key
		}
	}
	return keyDoc{name: name}
}

var fileTable = tableDoc{
	keys: []keyDoc{
		{name: "artifacts", kind: "table", required: true, meaning: "Where bundles go."},
		{name: "watch", kind: "array of tables", required: true, meaning: "What is watched; one or more."},
		{name: "limits", kind: "table", meaning: "How much the daemon may take: `[limits]`."},
		{name: "http", kind: "table", meaning: "A page, metrics and health over HTTP: `[http]`."},
		{name: "status", kind: "table", meaning: "The socket of `bundlewatch status`: `[status]`."},
		{name: "retention", kind: "table", meaning: "Which bundles keep their archive."},
		{name: "alerts", kind: "table", meaning: "When a run counts as stalled: `[alerts]`."},
		{name: "notify", kind: "array of tables", meaning: "Commands and webhooks that are told what happens: `[[notify]]`."},
		{name: "sign", kind: "table", meaning: "The key that bundles are signed with: `[sign]`."},
		{name: "tidy", kind: "array of tables", meaning: "Stray files that are moved away."},
		{name: "store", kind: "array of tables", meaning: "Buckets that bundles are sent to: `[[store]]`."},
		{name: "push", kind: "array of tables", meaning: "Registries that bundles are sent to."},
	},
}

var artifactsTable = tableDoc{
	header:  "[artifacts]",
	meaning: "Where bundles go.",
	keys: []keyDoc{
		{
			name: "dir", kind: "path", required: true,
			meaning: "The directory that bundles are published to, as `<dir>/<watch name>/<key>/`. It is the only state that " +
				"bundlewatch keeps. It must not be a watched root, hold one, or lie where a member pattern can match.",
		},
		{
			name: "budget", kind: "size",
			meaning: "How many bytes all files below `dir` may take, such as `\"500GiB\"`. A bundle that would not fit is not started and waits until there is " +
				"room, like below `free_space`; nothing is removed for it but what `[retention]` says. Without it any number.",
		},
	},
}

var watchTable = tableDoc{
	header:  "[[watch]]",
	meaning: "One directory tree and the checkpoint sets to look for in it. Write one `[[watch]]` for each layout of files.",
	keys: []keyDoc{
		{
			name: "name", kind: "string", required: true,
			meaning: "The first directory below `artifacts.dir` that bundles of this watch go to. Letters, digits, `.`, `_` and `-`, " +
				"a letter or digit first. No two watches share a name.",
		},
		{
			name: "root", kind: "path", required: true,
			meaning: "The directory that is watched, with everything below it. It may appear after bundlewatch was started.",
		},
		{
			name: "source", kind: "string", initial: "auto",
			meaning: "How changes are noticed: `\"inotify\"` by events of the kernel, `\"poll\"` by listing, `\"auto\"` by what the " +
				"file system of the root supports.",
		},
		{
			name: "settle", kind: "duration", initial: "1s",
			meaning: "How long a file must stay unchanged before it is looked at. At least `\"10ms\"`; raised by itself on network file systems.",
		},
		{
			name: "expire", kind: "duration", initial: "6h",
			meaning: "How long an incomplete set waits for its other members before it is reported with what it waits for.",
		},
		{
			name: "rescan", kind: "duration", initial: "1m",
			meaning: "How often the whole root is looked at besides events, so that a lost event costs time and nothing else. " +
				"Large roots [less often](operations.md#inotify-limits).",
		},
		{
			name: "poll_ops", kind: "integer", initial: "60000",
			meaning: "How many calls into the file system polling makes in a minute at most, spread evenly over it. A large tree is then " +
				"gone through more slowly: [operations.md](operations.md#network-file-systems) has the formula. From 60 to 100000000.",
		},
		{
			name: "regroup", kind: "duration", initial: "5m",
			meaning: "After one member of a set that is already published was written anew: how long bundlewatch waits for the other " +
				"members to be written anew too.",
		},
		{
			name: "marker", kind: "pattern",
			meaning: "A file that must exist before a set is bundled, such as `\"{run...}/_SUCCESS\"`. Placeholders stand for what the members captured.",
		},
		{
			name: "code", kind: "path",
			meaning: "A directory of the training code, where the runs do not lie in it: the git commit, the branch and whether tracked files " +
				"were changed go into the manifest. git is not run.",
		},
		{
			name: "ignore_writers", kind: "boolean", initial: "false",
			meaning: "Do not look which processes write. By default what can be seen of them goes into the manifest: " +
				"[operations.md](operations.md#where-a-bundle-comes-from).",
		},
		{name: "members", kind: "table", required: true, meaning: "The files that make up one set: `[watch.members]`."},
		{name: "config", kind: "table", meaning: "The config files that are frozen with a set: `[watch.config]`."},
		{name: "payload", kind: "table", meaning: "What of a checkpoint is archived: `[watch.payload]`."},
		{name: "retention", kind: "table", meaning: "Which bundles of this watch keep their archive, in place of `[retention]`: `[watch.retention]`."},
	},
}

var membersTable = tableDoc{
	header: "[watch.members]",
	free:   true,
	meaning: "Each key is a role, and the name of a folder in the archive: letters, digits, `.`, `_` and `-`, a letter or digit " +
		"first. Each value is the pattern of the files of that role, or `{ sentinel = true }` for a role without a file of its own, " +
		"whose weights another member holds. At least one role has a pattern. A set is complete when every role with a pattern " +
		"has a finished file and the placeholders captured the same texts, so every placeholder occurs in every pattern.",
}

var memberTable = tableDoc{
	keys: []keyDoc{{name: "sentinel", kind: "boolean"}},
}

var snapshotTable = tableDoc{
	header:  "[watch.config]",
	meaning: "The config of the run that a set belongs to. All of it is copied into the bundle as it is when the set is complete.",
	keys: []keyDoc{
		{
			name: "files", kind: "array of patterns",
			meaning: "All regular files that match are frozen. Placeholders stand for what the members captured, so a pattern may use " +
				"fewer of them but no others.",
		},
		{
			name: "preset", kind: "string", initial: "none",
			meaning: "How the files become params: `\"ptychopinn\"` translates PtychoPINN's configs, `\"none\"` keeps the merged tree as it is.",
		},
		{
			name: "metrics", kind: "array of patterns",
			meaning: "CSV files such as Lightning's `metrics.csv`, from which the metrics of a checkpoint's epoch are recorded in the manifest, for " +
				"`keep_best`. Placeholders as in `files`.",
		},
		{
			name: "required", kind: "array of strings",
			meaning: "Params that must be known. A set without one of them is refused, with the reason.",
		},
	},
}

var payloadTable = tableDoc{
	header:  "[watch.payload]",
	meaning: "What of a checkpoint goes into the archive.",
	keys: []keyDoc{
		{
			name: "keep", kind: "string", initial: "state_dict",
			meaning: "`\"state_dict\"` archives the weights alone, without optimizer and loops; `\"verbatim\"` archives the file byte for byte.",
		},
		{
			name: "imports", kind: "string", initial: "refuse",
			meaning: "What happens to a checkpoint whose part that travels imports more than tensors need: it is not bundled (`\"refuse\"`), or it is bundled with a warning in the manifest and the log (`\"warn\"`). Imports in the parts that stay behind are listed in the manifest. They refuse nothing, but for calls that run programs or code outside of what trainers write beside the weights (`hyper_parameters`, `callbacks`, the optimizer …).",
		},
		{
			name: "select", kind: "string",
			meaning: "The entry of the checkpoint that holds the weights, such as `\"model\"`, or `\"ema.model\"` for one inside of another. " +
				"Without it they are the whole checkpoint, or what is under `\"state_dict\"` as Lightning writes it; anything else is refused with the names to choose from.",
		},
	},
}
