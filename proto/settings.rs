//! Layered settings of the binaries: flag over environment over file over default, with clap as the only parser.
