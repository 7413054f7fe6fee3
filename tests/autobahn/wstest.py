"""Starts the suite from the folder that `run` installed it to (Python 2.7).

    wstest.py FOLDER [wstest options]         the suite's own command line
    wstest.py FOLDER --list-cases PATTERN...  the ids that the patterns stand for, one per line
"""
import site
import sys

FOLDER = sys.argv.pop(1)
sys.path.insert(1, FOLDER)
# `zope` is a namespace package: only its .pth file, which a plain path entry ignores, makes it importable.
site.addsitedir(FOLDER)


def list_cases(patterns):
    from autobahntestsuite.case import Case, Cases, CaseBasename, CaseCategories, CaseSetname, CaseSubCategories
    from autobahntestsuite.caseset import CaseSet

    cases = CaseSet(CaseSetname, CaseBasename, Cases, CaseCategories, CaseSubCategories)
    print("\n".join(cases.parseSpecCases({"cases": patterns})))


if sys.argv[1] == "--list-cases":
    list_cases(sys.argv[2:])
else:
    from autobahntestsuite.wstest import run

    run()
