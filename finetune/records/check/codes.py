"""Every problem that a check can find: its code, how bad it is, and the fix.

The codes are part of the public interface (the API, the error file and the documentation show
them), so a code is never renamed and never changes its meaning.
"""

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Code:
    """`error`: the row, or the file, cannot be used. `warning`: used, but look at it."""

    severity: Severity
    title: str
    fix: str


def _error(title: str, fix: str) -> Code:
    return Code("error", title, fix)


def _warning(title: str, fix: str) -> Code:
    return Code("warning", title, fix)


FILE_CODES: dict[str, Code] = {
    "empty_file": _error("The file is empty.", "Upload a file with at least one row."),
    "no_usable_rows": _error("No row of the file can be used.", "Mend the rows listed."),
    "unknown_format": _error(
        "The format of the rows cannot be told from their fields.",
        "Give every row the fields of one of these: messages (chat), prompt and completion, "
        "instruction and output (alpaca), conversations (sharegpt), prompt and output "
        "(fengshenbang), input, preferred_output and non_preferred_output (preference), chosen and "
        "rejected (chosen), prompt, completion and label (rated), messages and what graders are "
        "told (prompt), text, query and positive (retrieval), or sentence1, sentence2 and score "
        "(scored). If only the names differ, say which column is which field: "
        "instruction=question, output=answer.",
    ),
    "not_json_lines": _error(
        "The file is text: none of its first lines is JSON.",
        'Write one JSON object a line, as in {"messages": [...]}, or a table as CSV.',
    ),
    "json_array": _error(
        "The file is one JSON array, not one object a line.",
        "Write one object a line: jq -c '.[]' data.json > data.jsonl",
    ),
    "pretty_json": _error(
        "An object of JSON goes over several lines.",
        "Write one object a line: jq -c . data.json > data.jsonl",
    ),
    "workbook": _error(
        "The file is a workbook of Excel or WPS, or a ZIP archive, and no table in text.",
        "Open it and save the sheet as CSV UTF-8.",
    ),
    "name_disagrees": _warning(
        "The name says another kind of file than its content is.",
        "Make sure that this is the file you mean: what stands in it is trained. If it is, give it "
        "the ending that fits; else delete it.",
    ),
    "json_as_text": _warning(
        "The lines are JSON, and were read as plain text, as the name says.",
        "If each line is a row, give the file the ending .jsonl and upload it again; else nothing.",
    ),
    "utf16": _warning(
        "The file is UTF-16 text; it was read as that.", "Nothing. Else save it as UTF-8."
    ),
    "gbk": _warning(
        "The file is Chinese text in GBK; it was read as that.",
        "Look at a row of it. In Excel and WPS, save as CSV UTF-8.",
    ),
    "other_encoding": _error(
        "The file is not UTF-8, and in what it is written cannot be told for certain.",
        "Save it as UTF-8; in Excel and WPS, as CSV UTF-8.",
    ),
    "cr_only": _warning(
        "Lines end with CR alone; they were read as lines.",
        "Save the file with Unix line ends (LF).",
    ),
    "bad_compression": _error(
        "The gzip or zstd data is damaged or cut off.", "Compress and upload the file again."
    ),
    "bad_parquet": _error("The file is not readable Parquet.", "Write the Parquet file again."),
    "bad_csv": _error(
        "The CSV file cannot be read.",
        "Put field names in the first line and quote fields that hold commas or line breaks.",
    ),
    "sep_line": _warning(
        "The first line names the separator, as Excel has it; it was read so.", "Nothing."
    ),
    "unnamed_column": _warning(
        "Columns without a name; they are left out.",
        "Nothing, if they are empty. Else give each column a name in the first line.",
    ),
    "field_spelling": _warning(
        "A column is written with capitals; it was read without them.",
        "Write the field's name in small letters.",
    ),
    "missing_column": _error(
        "The mapping names a column that the file does not have.",
        "Give the column's name as it stands in the first line.",
    ),
    "mapped_unused": _error(
        "The mapping gives a column to a field that rows of this format do not have.",
        "Map all that belongs together: prompt and completion, instruction and output, or text "
        "alone; or leave the column out of the mapping.",
    ),
    "same_column": _error(
        "Two columns are called the same but for capitals.",
        "Rename or remove one of them, or say in a mapping which one is which field.",
    ),
    "cell_limit": _warning(
        "A cell has exactly 32,767 characters, as many as Excel keeps: it was probably cut.",
        "Look at its end. Write such rows as JSON lines, without Excel in between.",
    ),
    "one_sided": _warning(
        "All answers have the same label, so what is good is learnt without what is not, or the "
        "other way round.",
        "Add rows of the other label, or train the good answers alone with the method supervised.",
    ),
    "uneven_labels": _warning(
        "There are many more answers of one label than of the other.",
        "Give a weight to the rarer ones, desirable_weight or undesirable_weight, so that both "
        "sides weigh about the same; or add rows.",
    ),
    "one_score": _warning(
        "All pairs have the same score, so no pair is known to be more alike than another.",
        "Give each pair a score of how alike its texts are, or write pairs that belong together as "
        "query and positive.",
    ),
    "bom": _warning(
        "The file begins with a byte order mark; it was skipped.", "Save it as UTF-8 without BOM."
    ),
    "crlf": _warning(
        "Lines end with CR LF; the CR was removed.", "Save the file with Unix line ends (LF)."
    ),
    "blank_line": _warning("The line is blank; it was skipped.", "Remove blank lines."),
}

LINE_CODES: dict[str, Code] = {
    "document_too_large": _error(
        "The document is larger than 16 MB.",
        'Put a form feed (U+000C) between its parts, or write them as JSON lines: {"text": ...}.',
    ),
    "line_too_large": _error("The line is larger than allowed.", "Split the row or shorten it."),
    "invalid_utf8": _error("The line is not valid UTF-8.", "Save the file as UTF-8."),
    "invalid_json": _error("The line is not JSON.", "Write one complete JSON object a line."),
    "cell_not_json": _error(
        "A cell that is to hold JSON does not.",
        'Write the whole list as JSON into the cell: [{"role": "user", "content": "..."}, ...]',
    ),
    "not_an_object": _error(
        "The line is JSON, but not an object.", 'Write an object: {"messages": [...]}'
    ),
    "duplicate_key": _error(
        "A key stands twice in one object, so one of its values would be lost.",
        "Remove or rename one of them.",
    ),
    "not_finite": _error(
        "NaN and Infinity are not JSON.", "Use null or leave the field out before exporting."
    ),
    "lone_surrogate": _error(
        "A string has half of a surrogate pair (\\ud800 to \\udfff), which is not a character.",
        "Write the whole pair, or the character itself, in UTF-8.",
    ),
    "too_deep": _error("The JSON is nested too deep.", "Flatten the object."),
}

ROW_CODES: dict[str, Code] = {
    "missing_field": _error("A required field is missing.", "Add the field."),
    "wrong_type": _error("A field has the wrong type.", "Write the field as the format asks."),
    "unknown_field": _warning(
        "A field that the format does not know; it is ignored.", "Remove the field."
    ),
    "unsupported_field": _error(
        "A field of an older form of the format.",
        "Write functions as tools and function_call as tool_calls.",
    ),
    "unknown_role": _error(
        "The role is not known.", "Use system, developer, user, assistant or tool."
    ),
    "role_spelling": _warning(
        "A role is written with capitals or spaces; it was read without them.",
        "Write the role in small letters without spaces.",
    ),
    "unusual_turn": _warning(
        "An assistant message does not follow a user's or a tool's; it is trained as it stands.",
        "Put the question before the answer, or join two answers into one message.",
    ),
    "unsupported_content": _error(
        "A content part that is not text.", "Use text only, or remove the part."
    ),
    "empty_content": _error("The content is empty.", "Write the text, or remove the message."),
    "empty_messages": _error("The conversation has no messages.", "Add messages, or remove it."),
    "no_assistant": _error(
        "The conversation has no assistant message, so there is nothing to learn.",
        "Add the answer that the model shall give.",
    ),
    "last_not_assistant": _error(
        "The last message is not the assistant's.",
        "Add the answer, or remove what follows the last answer. A prompt that is to be answered "
        "and graded has a field for its graders beside messages.",
    ),
    "last_not_user": _error(
        "The last message of a prompt is not the user's.",
        "End the prompt with the user's message: the answer to it is the model's, and graded. For "
        "training on answers that stand in the file, mend its first row, by which all are read.",
    ),
    "bad_weight": _error("A weight other than 0 or 1.", "Use 0 (do not train) or 1 (train)."),
    "misplaced_weight": _error(
        "A weight on a message that is not the assistant's.", "Remove the weight."
    ),
    "misplaced_reasoning": _error(
        "Reasoning on a message that is not the assistant's.", "Remove the reasoning."
    ),
    "unclear_reasoning": _error(
        "Where the answer's reasoning begins or ends cannot be told.",
        "Write it once: in reasoning_content without <think> and </think>, or as one "
        "<think>...</think> before the answer.",
    ),
    "bad_tool_call": _error(
        "A tool call that is not complete.",
        'Write {"id": "...", "type": "function", "function": {"name": "...", "arguments": "{}"}}.',
    ),
    "bad_tool_arguments": _error(
        "The arguments of a tool call are not a JSON object.",
        "Write the arguments as a JSON object in a string.",
    ),
    "bad_tool": _error(
        "A tool definition that is not complete.",
        'Write {"type": "function", "function": {"name": "...", "parameters": {...}}}.',
    ),
    "orphan_tool_message": _warning(
        "A tool message answers a call that no message before it made.",
        "Use the id of the tool call as tool_call_id.",
    ),
    "uneven_turns": _error(
        "prompt and output do not have the same number of turns.", "Give each prompt an output."
    ),
    "same_answers": _error(
        "The preferred answer and the other one are the same, so there is nothing to prefer.",
        "Remove the row, or give it two answers that differ.",
    ),
    "missing_answer": _error(
        "One of the two answers is missing.",
        "Give the row both: the answer that is preferred, and one that is not.",
    ),
    "bad_label": _error(
        "A label that is neither true nor false.",
        "Write true where the answer is good, else false. If label means something else, take the "
        "field away: the rows are then prompts and completions.",
    ),
    "bad_margin": _error(
        "A margin that is no number from 0 to 100.",
        "Write by how much the better answer is to score higher, 0.5 for instance, or leave the "
        "field out.",
    ),
    "bad_score": _error(
        "A score that is no number.",
        "Write how alike the two texts are as a number, 0 to 1 for instance; more is more alike.",
    ),
    "no_negatives": _error(
        "A query has no documents that do not belong to it, and a reranker is to tell them apart.",
        "Give it negatives: texts that look right and are not.",
    ),
    "score_beyond_one": _error(
        "A score below 0 or above 1, and a reranker's are between them.",
        "Write how well the second text fits the first as a number from 0 to 1.",
    ),
    "several_positives": _error(
        "A query has several texts that shall be found.",
        "Write a row for each of them, with the same query.",
    ),
    "negative_is_positive": _error(
        "A text that shall not be found is the very one that shall.",
        "Take it out of the negatives.",
    ),
    "not_an_answer": _error(
        "An answer holds a message that is neither the assistant's nor a tool's.",
        "Move what others say into the prompt, and leave in the answers what the assistant says.",
    ),
    "no_shared_prompt": _error(
        "The two conversations do not begin alike, so there is no prompt that both answer.",
        "Give both the same first messages, or write the prompt in a field of its own.",
    ),
    "bad_tags": _warning(
        "tags is no list of at most 16 words of 64 characters; they are left out.",
        'Write "tags": ["short", "words"], or leave them out.',
    ),
    "secret_in_code": _warning(
        "The file holds what looks like a key, a password or a private key.",
        "Take it out, and make it void: a model can repeat what it has read. A profile of the file "
        "says where it stands, and a scrub masks it.",
    ),
    "licence_named": _warning(
        "The file's header names a licence.",
        "Nothing, if you may train on code under it.",
    ),
    "generated_code": _warning(
        "The file says that a program wrote it.",
        "Leave it out, unless that is what the model shall write.",
    ),
    "minified_code": _warning(
        "The file's lines are longer than a person writes them: minified, or data.",
        "Leave it out, or bring its source.",
    ),
    "binary_code": _warning("The file is hardly text.", "Leave it out."),
    "duplicate_row": _warning("The same row stands earlier in the file.", "Remove one of them."),
    "in_both_sets": _warning(
        "The same row is in the other set, so validation would measure memory.",
        "Remove it from one of the two files.",
    ),
}

TOKEN_CODES: dict[str, Code] = {
    "too_long": _error(
        "The row has more tokens than max_length.",
        "Shorten it, raise max_length, or choose overflow drop or cut. The method pretrain reads "
        "long documents in chunks.",
    ),
    "chunked": _warning(
        "The document has more tokens than max_length and is read in chunks.",
        "Nothing. Raise max_length for longer chunks.",
    ),
    "too_long_dropped": _warning(
        "The row has more tokens than max_length and is left out, as overflow says.",
        "Shorten it, or raise max_length.",
    ),
    "too_long_cut": _warning(
        "The row has more tokens than max_length and its end is cut off, as overflow says.",
        "Shorten it, or raise max_length.",
    ),
    "answer_cut": _warning(
        "The cut takes the end of an answer away, so this row does not teach where it ends.",
        "Shorten the row, raise max_length, or choose overflow drop.",
    ),
    "template_trims": _warning(
        "The base's chat template takes white space away at the edges of an answer, so the model "
        "is not trained to write it.",
        "Nothing, if it means nothing. Else use prompt/completion rows, or another base.",
    ),
    "reasoning_dropped": _warning(
        "A message's reasoning is not trained: the base's chat template leaves it out, or thinking "
        "is off.",
        "Nothing, if it shall not be learnt. Else train the message (no weight 0), with thinking "
        "auto or on, on a base that can think.",
    ),
    "reasoning_missing": _warning(
        "The prompt of this answer asks for thinking and the row has none, so the model learns to "
        "answer without.",
        "Give the message its reasoning_content, or turn thinking off if the base can.",
    ),
    "thinking_unsupported": _error(
        "The base's chat template cannot be asked for thinking to be on, or off.",
        "Leave thinking as it is (auto), or choose another base.",
    ),
    "nothing_trained": _error(
        "No token of the row would be trained.",
        "Give it an assistant message without weight 0, or raise max_length if it was cut.",
    ),
    "end_not_trained": _error(
        "The end of the answer would not be trained, so the model would never learn to stop.",
        "Import the base with a chat template that ends the assistant's turn with a token.",
    ),
    "answers_apart": _error(
        "One side of the pair has several answers that the base's chat template does not show in "
        "one sequence.",
        "Give each side one assistant message; put what came before it into the prompt.",
    ),
    "base_writes": _error(
        "These are rows to learn vectors or rankings from, and the base writes text.",
        "Choose a base that embeds or ranks (an embedding model, a reranker), or give it chats or "
        "completions.",
    ),
    "base_embeds": _error(
        "The base makes vectors or scores of texts, and these are rows to learn writing from.",
        "Choose a base that writes text, or give it queries with what shall be found (query, "
        "positive) or scored pairs (sentence1, sentence2, score).",
    ),
    "no_eos": _error(
        "The base's tokenizer has no end-of-sequence token.",
        "Name eos_token in the base's tokenizer_config.json.",
    ),
    "no_chat_template": _error(
        "The base has no chat template.",
        "Import the base with --chat-template FILE, or use prompt/completion rows.",
    ),
    "template_refused": _error(
        "The base's chat template refuses the conversation.",
        "Write the conversation as the template wants it, or choose another base.",
    ),
    "template_drops_content": _error(
        "The base's chat template leaves out a part of the row.",
        "Write it as text, leave it out, or choose a base whose template prints it.",
    ),
    "template_not_derivable": _error(
        "What the assistant wrote cannot be told from the rest after templating.",
        "Import the base with a chat template that has {% generation %} marks.",
    ),
    "control_token_in_message": _error(
        "A message holds a control token of the base, with which it could end its turn and speak "
        "as somebody else.",
        "Remove it, or write it in another way, with a space in it for instance.",
    ),
    "control_token": _warning(
        "A text holds a control token of the base, which the model reads as a command.",
        "Remove it, or write it in another way.",
    ),
}

CODES: dict[str, Code] = {**FILE_CODES, **LINE_CODES, **ROW_CODES, **TOKEN_CODES}

# Raised as UserFault and not listed in a report: the check itself could not end.
LIMIT_CODES: dict[str, str] = {
    "limit_decoded_bytes": "The unpacked file is larger than allowed. Split it into several files.",
    "limit_rows": "The file has more rows than allowed. Split it into several files.",
    "limit_memory": "The check needed more memory than allowed. Split the file, or shorten rows.",
    "limit_time": "The check took longer than allowed. Split the file into several files.",
    "no_tokenizer": "The base's tokenizer cannot be loaded. Import the base again.",
}
