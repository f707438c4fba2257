# Reads the log of ctest (Testing/Temporary/LastTest.log) and prints "PASSED FAILED".
# A doctest program counts its test cases; any other program counts as one test. A doctest program that ran no test
# case, or that failed beside its test cases (a crash, a leak, a time limit), counts as one failure more.
function close_block() {
    if (!open) return
    if (is_doctest) {
        passed += cases_passed
        failed += cases_failed
        if (cases_passed + cases_failed == 0 || (!ok && cases_failed == 0)) failed += 1
    } else if (ok) {
        passed += 1
    } else {
        failed += 1
    }
    open = 0
}
/^[0-9]+\/[0-9]+ Testing: / { close_block(); open = 1; ok = 0; is_doctest = 0; cases_passed = 0; cases_failed = 0 }
/^\[doctest\] test cases: / {
    is_doctest = 1
    # [doctest] test cases:  12 |  11 passed | 1 failed | 0 skipped
    line = $0
    sub(/^[^|]*\|/, "", line)
    split(line, part, "|")
    cases_passed += part[1] + 0
    cases_failed += part[2] + 0
}
/^Test (Passed\.$|Pass Reason:)/ { ok = 1 }
END { close_block(); print passed + 0, failed + 0 }
