# For sourcing: the files that the style tests look at.

# The files of the tree, those of git where there is a checkout, filtered by the given extended pattern.
list_files() {
    { git ls-files 2> /dev/null || find . -path ./build -prune -o -type f -printf '%P\n'; } | grep -E "$1" |
        while read -r file; do [[ ! -e $file ]] || echo "$file"; done
}
