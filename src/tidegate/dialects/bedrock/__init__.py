"""Amazon Bedrock's Converse API, as a back: nobody calls a gateway in it."""
