//! Message sizes of the real protocols
