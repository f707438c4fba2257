# Writes the ```cpp blocks of a page as C++ files for a syntax check, and prints one line for each block:
#   LINE compiled | LINE skipped REASON
# A block that has a main() is a file of its own, as a reader would paste it: PREFIX_LINE.cpp. All others of the page go
# into PREFIX.cpp, each into a function of a namespace of its own, with their #include lines moved to the top. A hidden
# comment right before a block says what the reader knows and the compiler does not:
#   <!-- snippet, given: CODE -->                 comes before the block; may hold #include lines and go over lines
#   <!-- snippet, declarations, given: CODE -->   the block and CODE stand in the namespace, not in a function
#   <!-- snippet, continued -->                   goes on in the function of the block before, on the same page
#   <!-- snippet, not compiled: REASON -->
# Variables: page (its name for messages), prefix.

function fail(text) {
    printf "%s:%d: %s\n", page, NR, text
    failed = 1
    exit 1
}

function forget() { kind = "function"; given = ""; given_line = 0 }

function read_comment(text,    at) {
    sub(/^<!-- snippet, */, "", text)
    sub(/ *-->[ \t]*$/, "", text)
    if (text ~ /^not compiled:/) {
        sub(/^not compiled: */, "", text)
        if (text == "") fail("a block that is not compiled needs a reason")
        kind = "skipped"
        given = text
        return
    }
    if (text ~ /^continued/) { kind = "continued"; sub(/^continued,? */, "", text) }
    else if (text ~ /^declarations/) { kind = "declarations"; sub(/^declarations,? */, "", text) }
    else kind = "function"
    if (text ~ /^given:/) { sub(/^given: */, "", text); given = text }
    else if (text != "") fail("not understood: " text)
}

# The lines of a text: includes to the top of the page's file, the rest to `body`.
function add_lines(text, line,    n, i, part) {
    n = split(text, part, "\n")
    body = body "#line " line " \"" page "\"\n"
    for (i = 1; i <= n; ++i) {
        if (part[i] ~ /^#include/) {
            if (!((part[i]) in included)) includes = includes part[i] "\n"
            included[part[i]] = 1
            body = body "\n"
        } else {
            body = body part[i] "\n"
        }
    }
}

function close_function() {
    if (in_function) body = body "}\n}\n"
    in_function = 0
}

function end_of_block() {
    if (kind == "skipped") {
        printf "%d skipped %s\n", first, given
    } else if (code ~ /(^|\n)int main\(/) {
        own = prefix "_" first ".cpp"
        printf "#line %d \"%s\"\n%s", first + 1, page, code >own
        close(own)
        printf "%d compiled\n", first
    } else {
        if (kind != "continued") {
            close_function()
            body = body "namespace snippet_" first " {\n"
        } else if (!in_function) {
            fail("nothing to continue")
        }
        if (kind == "function") {
            body = body "[[maybe_unused]] static void snippet() {\n"
            in_function = 1
        }
        if (given != "") add_lines(given, given_line)
        add_lines(code, first + 1)
        if (kind == "declarations") body = body "}\n"
        printf "%d compiled\n", first
    }
    forget()
}

BEGIN { forget() }

in_block && /^```[ \t]*$/ { in_block = 0; end_of_block(); next }
in_block { code = code $0 "\n"; next }
in_other && /^```[ \t]*$/ { in_other = 0; next }
in_other { next }
in_comment {
    comment = comment "\n" $0
    if (/-->/) { in_comment = 0; read_comment(comment) }
    next
}
/^<!-- snippet/ {
    comment = $0
    given_line = NR
    if (/-->/) read_comment(comment)
    else in_comment = 1
    next
}
/^```(cpp|c\+\+|C\+\+|cxx)/ { in_block = 1; first = NR; code = ""; next }
/^```/ { in_other = 1; next }
/^[ \t]*$/ { next }
given_line { fail("a comment about a snippet stands right before its block") }

END {
    if (failed) exit 1
    if (in_block || in_comment) { print page ": a block or comment without an end"; exit 1 }
    close_function()
    if (body != "") printf "%s%s", includes, body >(prefix ".cpp")
}
