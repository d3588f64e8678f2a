package config

var tidyTable = tableDoc{
	header: "[[tidy]]",
	meaning: "One directory, and the files at its top level that do not belong there and are moved away: [stray files](tidy.md). " +
		"A file without any `[[watch]]` needs no `[artifacts]`.",
	keys: []keyDoc{
		{
			name: "root", kind: "path", required: true,
			meaning: "The directory whose top level is kept tidy; nothing below it is looked at. It may appear after bundlewatch was started.",
		},
		{
			name: "match", kind: "array of names", required: true,
			meaning: "Names of strays, with `*` and `?` as in a shell, such as `[\"*.log\", \"nohup.out\", \"lightning_logs/\"]`. " +
				"A `/` at the end names directories, which are moved whole. Nothing matches by default.",
		},
		{
			name: "keep", kind: "array of names",
			meaning: "Names that are left alone, whatever `match` says. Without a `/` at the end: files and directories.",
		},
		{
			name: "move_to", kind: "path", required: true,
			meaning: "The directory that strays are moved to; below the root unless it is absolute. `{utc}` is the time of the pass, " +
				"as in `2025-10-17T104700Z`, `{date}` its day, `{host}` the name of this machine, `{name}` the name of the stray; with " +
				"`watch`, the placeholders of its members are those of the run that is active.",
		},
		{
			name: "min_age", kind: "duration", initial: "10m",
			meaning: "How long a stray must be unchanged, by the time of its last write and of its last change of any kind.",
		},
		{
			name: "max_size", kind: "size",
			meaning: "Larger strays are left alone; `\"64MiB\"`, with B, KiB, MiB, GiB or TiB. For a directory: all that is in it.",
		},
		{
			name: "max_per_hour", kind: "integer", initial: "100",
			meaning: "After so many moves within an hour the block stops and waits for a person, who says `bundlewatch tidy --resume`.",
		},
		{
			name: "tracked", kind: "string", initial: "skip",
			meaning: "What git tracks is left alone (`\"skip\"`), or removed from the index after the move (`\"git-rm\"`). Nothing is committed.",
		},
		{
			name: "symlinks", kind: "boolean", initial: "false",
			meaning: "Whether symbolic links that match are moved too, as links. A relative link may point nowhere at its new place.",
		},
		{
			name: "watch", kind: "string",
			meaning: "The name of a `[[watch]]`, whose placeholders `move_to` may then use.",
		},
		{
			name: "rescan", kind: "duration", initial: "1m",
			meaning: "How often the root is listed besides events.",
		},
		{
			name: "i_know", kind: "boolean", initial: "false",
			meaning: "Allows what is refused otherwise: a `match` that matches (almost) every name, and a root that is `/`, a home " +
				"directory, or holds the artifact directory.",
		},
	},
}
