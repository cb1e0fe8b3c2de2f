module adder

go 1.19
