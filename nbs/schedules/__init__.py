"Fee schedules with the days on which they held and where each number was read. See README.md."
