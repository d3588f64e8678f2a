# converts the shards of this folder
