"""The files that deploy the product: read, and held to rules that planted faults must break."""
